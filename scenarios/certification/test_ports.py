"""The ports and protocols that Windows' own scenarios need: a filter lets them pass when nobody wants them blocked."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.expect import expect
from harness.guest import ProbeError
from harness.traffic import frames
from harness.waiting import Deadline

TABLE = tomllib.loads((Path(__file__).parent / "ports.toml").read_text(encoding="utf-8"))
SCENARIO = "Filter.Driver.WindowsFilteringPlatform.Scenario."


def marked(names):
    """The mark for these requirements."""
    return pytest.mark.requirement(*(SCENARIO + name for name in names))


CASES = [pytest.param(case, id=case["name"], marks=marked(case["requirements"])) for case in TABLE["case"]]
PROTOCOLS = [
    pytest.param(entry["number"], id=str(entry["number"]), marks=marked([entry["requirement"]]))
    for entry in TABLE["protocol"]
]


@pytest.mark.parametrize("case", CASES)
def test_the_ports_are_open(at_work, probe, stations, fence, family, case):
    """Connections and datagrams to and from the ports of the scenario arrive."""
    station = stations.add(family.host)
    for port in case.get("tcp_out", ()):
        station.tcp_listen(port, echo=True)
        client = probe.tcp_connect(family.end(family.host, port))
        client.send(b"out")
        expect(f"tcp {port}: {client.receive(3, exact=True)!r}").equals(f"tcp {port}: b'out'")
    for port in case.get("tcp_in", ()):
        listen(probe, family.end(family.guest, port))
        station.tcp_connect(family.guest, port, Deadline(10))
    for port in case.get("udp_out", ()):
        station.udp(port, echo=True)
        socket = probe.udp_open(family.end(family.guest, 0))
        socket.send_to(family.end(family.host, port), b"out")
        expect(f"udp {port}: {socket.receive_from()[0]!r}").equals(f"udp {port}: b'out'")
    for port in case.get("udp_in", ()):
        socket = probe.udp_open(family.end(family.guest, port))
        station.udp().send_to(family.guest, port, b"in")
        expect(f"udp {port}: {socket.receive_from()[0]!r}").equals(f"udp {port}: b'in'")
    fence()


def listen(probe, end):
    """A listener of the probe; where Windows itself has the port, that one will do."""
    try:
        probe.tcp_listen(end)
    except ProbeError as error:
        if error.name not in ("WSAEADDRINUSE", "WSAEACCES"):
            raise


@pytest.mark.parametrize("number", PROTOCOLS)
def test_packets_of_the_protocol_reach_the_guest(at_work, scene, link, stations, witness, fence, number):
    """A packet of a protocol that the guest has no use for is answered by its stack, so no filter has taken it."""
    if scene.bench.is_windows:
        pytest.skip("Windows says nothing to packets of a protocol that it has no use for")
    stations.add("198.51.100.5")

    link.send(bytes(frames.ip("198.51.100.5", "192.0.2.2", b"of this protocol", proto=number)))
    fence()

    expect(witness).one(direction="from-guest", proto="icmp", dst="198.51.100.5", contains=b"of this ")
