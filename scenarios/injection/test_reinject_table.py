"""Datagrams of every size that are swallowed at any layer of packets, and injected again where they were."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.expect import expect
from harness.link.headers import endpoint_text
from harness.waiting import Deadline

STATIONS = {4: "198.51.100.5", 6: "2001:db8:5::5"}
GUESTS = {4: "192.0.2.2", 6: "[2001:db8::2]"}
CASES = tomllib.loads((Path(__file__).parent / "reinject.toml").read_text())["case"]


@pytest.fixture
def conversation(probe, stations, case):
    """A socket of the guest and one of a station that have already spoken: ALE has nothing left to authorize."""
    address = STATIONS[case["family"]]
    station = stations.add(address).udp(7000)
    socket = probe.udp_open(f"{GUESTS[case['family']]}:5353")
    socket.send_to(endpoint_text(address, 7000), b"hello")
    station.receive(Deadline(10))
    return socket, station


@pytest.mark.rule("W245", "W248")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_datagram_injected_where_it_was_arrives_once_and_unchanged(driver, conversation, witness, trace, fence, case):
    """A datagram that is swallowed and injected again at its layer arrives once, as it was, whatever its size."""
    socket, station = conversation
    text = bytes(index % 251 for index in range(case["size"]))
    frames = "MAC_FRAME" in case["layer"]
    side = {"local": ":5353"} if case["inbound"] else {"remote": ":7000"}
    driver.reinject("udp", layer=case["layer"], family=None if frames else case["family"], **side)

    if case["inbound"]:
        station.send_to(GUESTS[case["family"]].strip("[]"), 5353, text)
        arrived, _ = socket.receive_from()
    else:
        socket.send_to(endpoint_text(STATIONS[case["family"]], 7000), text)
        arrived = station.receive(Deadline(10)).payload
    fence()

    expect(arrived).equals(text)
    direction = "to-guest" if case["inbound"] else "from-guest"
    expect(witness).one(direction=direction, proto="udp", payload=text, checksums="right")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")
