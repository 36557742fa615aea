"""How often a packet is injected again, and how much of a stream is held back."""

from __future__ import annotations

import pytest

from harness.driver.interface import RuleFlag
from harness.expect import expect
from harness.waiting import Deadline

DATAGRAMS = 8
MORE_THAN_MAY_BE_HELD = (8 << 20) + (256 << 10)


@pytest.mark.rule("W258")
@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.PacketInjection.NoDeadlocks")
def test_no_packet_goes_round(at_work, probe, stations, witness, fence, family):
    """Datagrams and segments of both directions arrive, each datagram once; the guest counts who is injected again."""
    station = stations.add(family.host)
    server, listener = station.udp(53, echo=True), station.tcp_listen(80, echo=True)
    socket = probe.udp_open(family.end(family.guest, 5353))
    client = probe.tcp_connect(family.end(family.host, 80))

    for number in range(DATAGRAMS):
        socket.send_to(family.end(family.host, 53), b"datagram %d" % number)
        answer, _ = socket.receive_from()
        expect(answer).equals(b"datagram %d" % number)
        client.send(b"segment %d" % number)
        expect(client.receive(9, exact=True)).equals(b"segment %d" % number)
    fence()

    expect(len(server.received)).equals(DATAGRAMS)
    expect(len(listener.connections)).equals(1)
    for number in range(DATAGRAMS):
        expect(witness).one(direction="from-guest", proto="udp", payload=b"datagram %d" % number)


@pytest.mark.rule("W258")
@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.PacketInjection.NoDeadlocks")
def test_two_callouts_do_not_change_a_packet_for_ever(driver, probe, stations, witness, trace, fence):
    """Of two callouts that would change what the other one made, each packet is injected twice at most and leaves."""
    server = stations.add("198.51.100.5").udp(53)
    for slot, (old, new) in enumerate(((b"ping", b"pong"), (b"pong", b"ping"))):
        driver.replace(
            "udp", layer="OUTBOUND_TRANSPORT", remote="198.51.100.5:53", pattern=old, replacement=new, slot=slot
        )

    probe.udp_open().send_to("198.51.100.5:53", b"ping")
    server.receive(Deadline(10))
    fence()

    expect(witness).one(dst="198.51.100.5:53", direction="from-guest")
    injections = [event for event in trace.events if str(event.kind) == "inject"]
    expect(len(injections)).satisfies(lambda count: 1 <= count <= 2, "one or two injections")


@pytest.mark.rule("W286")
@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.StreamInjection.NoStreamStarvation"
)
@pytest.mark.timeout(300)
def test_a_slow_reader_does_not_make_the_driver_hold_a_stream(scene, probe, stations, fence):
    """More than eight megabytes to a program that reads late all arrive: the driver has not kept them back."""
    if scene.bench.control is not None:  # it only looks on: what it injected out of band would fill its ring of events
        scene.bench.control.inspect("tcp", layer="STREAM", local=":8080", flags=[RuleFlag.SILENT])
    listener = probe.tcp_listen("192.0.2.2:8080")
    connection = stations.add("198.51.100.5").tcp_connect("192.0.2.2", 8080, Deadline(20))
    reader = listener.accept()

    connection.send(b"x" * MORE_THAN_MAY_BE_HELD)
    stations.ping(Deadline(60))
    read = 0
    while read < MORE_THAN_MAY_BE_HELD:
        part = reader.receive(1 << 16, seconds=60)
        expect(len(part)).satisfies(lambda length: length > 0, f"more than {read} bytes")
        read += len(part)
    fence()

    expect(read).equals(MORE_THAN_MAY_BE_HELD)
