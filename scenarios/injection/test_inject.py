"""Packets that the driver makes up, swallows, or still has pending."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from harness.driver.interface import InjectPath
from harness.expect import expect
from harness.waiting import Deadline

STATION = "198.51.100.5"


def ip_of(family, source, destination):
    """An IP header of the family."""
    return (IPv6 if family.version == 6 else IP)(src=source, dst=destination)


@pytest.mark.rule("W245", "W248", "W261")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(InjectPath.NETWORK_RECEIVE, id="network"),
        pytest.param(InjectPath.TRANSPORT_RECEIVE, id="transport"),
    ],
)
def test_a_spoofed_inbound_datagram_reaches_the_socket(driver, probe, witness, trace, fence, family, path):
    """A datagram that the driver injects on the receive path reaches the guest's socket from its spoofed source."""
    socket = probe.udp_open(family.end(family.guest, 5353))
    packet = ip_of(family, family.other_host, family.guest) / UDP(sport=4321, dport=5353) / Raw(b"from nobody")

    driver.inject(path, bytes(packet), local=family.guest, remote=family.other_host)
    data, peer = socket.receive_from()
    fence()

    expect(data).equals(b"from nobody")
    expect(peer).equals(family.end(family.other_host, 4321))
    expect(witness).none(contains=b"from nobody")
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")


@pytest.mark.rule("W245", "W248")
def test_a_made_up_packet_leaves_the_guest(driver, stations, witness, trace, fence, family):
    """A packet that the driver injects on the send path leaves the guest once, with right checksums."""
    server = stations.add(family.host).udp(53)
    packet = ip_of(family, family.guest, family.host) / UDP(sport=1111, dport=53) / Raw(b"made up")

    driver.inject(InjectPath.NETWORK_SEND, bytes(packet), local=family.guest, remote=family.host)
    received = server.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"made up")
    expect(witness).one(src=family.end(family.guest, 1111), dst=family.end(family.host, 53), checksums="right")
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")


@pytest.mark.rule("W110", "W111")
def test_an_absorbed_datagram_vanishes(driver, probe, stations, witness, trace, fence):
    """BLOCK with ABSORB drops a datagram silently: nothing on the wire, no error at the sender."""
    server = stations.add(STATION).udp(53)
    driver.absorb("udp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:53")

    probe.udp_open().send_to(f"{STATION}:53", b"gone")
    fence()

    expect(len(server.received)).equals(0)
    expect(witness).none(dst=STATION)
    expect(trace).one(kind="classify", layer="OUTBOUND_TRANSPORT_V4", action="block")


@pytest.mark.rule("W241", "W245")
def test_destroying_the_handle_waits_for_pending_injections(driver, probe, stations, trace, fence):
    """When the destruction of the injection handle returns, every injection made on it has completed."""
    stations.add(STATION).udp(53)
    driver.reinject("udp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:53")
    socket = probe.udp_open()
    for number in range(20):
        socket.send_to(f"{STATION}:53", f"datagram {number}".encode())

    recreated = driver.lab.recreate_injection()
    fence()

    expect(recreated.name).equals("STATUS_SUCCESS")
    (done,) = trace.select("lab")
    begun = [event for event in trace.select("inject") if event.seq < done.seq]
    completed = [event for event in trace.select("inject-complete") if event.seq < done.seq]
    expect(trace).some(kind="inject")
    expect(len(completed)).equals(len(begun))
