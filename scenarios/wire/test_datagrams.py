"""Datagrams that a callout injects again, over wires that lose, repeat, reorder, delay and damage them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.expect import expect
from harness.waiting import Deadline

CASES = tomllib.loads((Path(__file__).parent / "datagrams.toml").read_text())["case"]
# What came in damaged may not be injected as it is, and the callout of this driver does not look.
INBOUND = [
    pytest.param(case, id=case["id"], marks=[pytest.mark.misuse("W261")] if case["id"] == "damaged" else [])
    for case in CASES
]
SENT = {number: b"datagram %d: " % number + bytes(range(200)) for number in range(1, 6)}


def expect_what_the_wire_left(case, received, wire, witness, **which):
    """Each datagram arrived as often and in the order that the table says, and the capture tells the fate of each."""
    wanted = list(case["arrives"])
    changed = case.get("changed", [])
    numbers = [next((n for n in SENT if payload == SENT[n]), 0) for payload in received]
    known = [0 if number in changed else number for number in wanted]
    expect(sorted(numbers) if case.get("any_order") else numbers).equals(known)
    for name, count in case["did"].items():
        expect((name, getattr(wire.counters, name))).equals((name, count))
    expect(witness).count(case["did"].get("lost", 0), proto="udp", lost=True, **which)
    expect(witness).count(
        case["did"].get("corrupted", 0), direction=which["direction"], fate=lambda fate: "flipped" in fate
    )


@pytest.mark.rule("W245", "W265")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_what_a_callout_injects_outbound_meets_the_wire(driver, probe, stations, impair, witness, trace, fence, case):
    """Every datagram is injected once, whatever the wire makes of it; the station reads what the wire left of them."""
    server = stations.add("198.51.100.5").udp(53)
    client = probe.udp_open("192.0.2.2:5353")
    driver.reinject("udp", layer="OUTBOUND_TRANSPORT", remote="198.51.100.5:53")
    wire = impair(of=["udp"], **case["wire"]).from_guest

    for payload in SENT.values():
        client.send_to("198.51.100.5:53", payload)
    fence()

    received = [datagram.payload for datagram in server.received]
    expect_what_the_wire_left(case, received, wire, witness, direction="from-guest", dport=53)
    expect(trace).count(5, kind="inject", status="STATUS_SUCCESS")
    expect(trace).count(5, kind="inject-complete", status="STATUS_SUCCESS")


@pytest.mark.rule("W245", "W265")
@pytest.mark.parametrize("case", INBOUND)
def test_what_arrives_over_the_wire_is_injected_inbound(driver, probe, stations, impair, witness, trace, fence, case):
    """The guest's socket reads exactly what the wire left, through a callout that injects every datagram again."""
    station = stations.add("198.51.100.5").udp(7000)
    client = probe.udp_open("192.0.2.2:5353")
    client.send_to("198.51.100.5:7000", b"first")
    station.receive(Deadline(10))
    driver.reinject("udp", layer="INBOUND_TRANSPORT", local="192.0.2.2:5353")
    wire = impair(of=["udp"], **case["wire"]).to_guest

    for payload in SENT.values():
        station.send_to("192.0.2.2", 5353, payload)
    fence()
    impair.nothing()
    station.send_to("192.0.2.2", 5353, b"the end")
    received = []
    while (payload := client.receive_from()[0]) != b"the end":
        received.append(payload)
    fence()

    expect_what_the_wire_left(case, received, wire, witness, direction="to-guest", sport=7000)
    damaged = len(case["arrives"]) < len(SENT) and case["did"].get("corrupted", 0)
    expect(trace).count(len(received) + 1 + damaged, kind="inject-complete", status="STATUS_SUCCESS")
