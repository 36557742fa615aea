"""Below and above the size of a frame: what callouts see of fragments, and frames that the driver handles itself."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from harness.driver.interface import InjectPath
from harness.expect import expect
from harness.traffic import frames
from harness.waiting import Deadline

STATION = "198.51.100.5"
IS_FRAGMENT, IS_REASSEMBLED = 0x20, 0x400
TEXT = bytes(index % 253 for index in range(4000))


@pytest.mark.rule("W230")
def test_inbound_fragments_are_seen_as_packets_as_fragments_and_as_one(driver, probe, link, witness, trace, fence):
    """Each fragment that comes in is classified twice, the packet that they make once more, and it arrives whole."""
    socket = probe.udp_open("192.0.2.2:5353")
    driver.inspect("", layer="INBOUND_IPPACKET", remote=STATION)
    whole = frames.ip(STATION, "192.0.2.2", UDP(sport=7000, dport=5353) / Raw(TEXT), id=77)

    for part in frames.fragments(whole):
        link.send(part)
    data, peer = socket.receive_from()
    fence()

    expect(data).equals(TEXT)
    expect(peer).equals(f"{STATION}:7000")
    expect(witness).count(3, direction="to-guest", src=STATION)
    classified = {"kind": "classify", "layer": "INBOUND_IPPACKET_V4"}
    expect(trace).count(7, **classified)
    expect(trace).count(3, **classified, condition_flags=lambda flags: flags & IS_FRAGMENT)
    expect(trace).one(**classified, condition_flags=lambda flags: flags & IS_REASSEMBLED, data_length=4008)


def test_a_datagram_is_whole_at_the_outbound_layers(driver, probe, stations, witness, trace, fence):
    """A datagram that is larger than a frame is one packet to callouts, and leaves the guest in fragments."""
    stations.add(STATION)
    driver.inspect("udp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:53")
    driver.inspect("udp", layer="OUTBOUND_IPPACKET", remote=f"{STATION}:53")

    probe.udp_open().send_to(f"{STATION}:53", TEXT)
    fence()

    expect(trace).one(kind="classify", layer="OUTBOUND_TRANSPORT_V4", data_length=4008)
    expect(trace).one(kind="classify", layer="OUTBOUND_IPPACKET_V4", data_length=4028)
    expect(witness).count(3, direction="from-guest", dst=STATION)


def test_a_frame_blocked_below_ip_reaches_nobody(driver, probe, stations, witness, trace, fence):
    """A datagram that a callout blocks at the MAC layer crosses the wire, and no socket and no layer above sees it."""
    socket = probe.udp_open("192.0.2.2:5353")
    station = stations.add(STATION).udp(7000)
    rule = driver.block("udp", layer="INBOUND_MAC_FRAME_ETHERNET", local=":5353")
    driver.inspect("udp", layer="INBOUND_IPPACKET", local=":5353")

    station.send_to("192.0.2.2", 5353, b"stopped")
    fence()
    rule.remove()
    station.send_to("192.0.2.2", 5353, b"passed")
    first, _ = socket.receive_from()
    fence()

    expect(witness).one(direction="to-guest", payload=b"stopped")
    expect(trace).one(kind="classify", layer="INBOUND_MAC_FRAME_ETHERNET", action="block")
    expect(trace).one(kind="classify", layer="INBOUND_IPPACKET_V4")
    expect(first).equals(b"passed")


@pytest.mark.rule("W243", "W245")
def test_a_made_up_frame_leaves_the_guest(driver, stations, witness, trace, fence):
    """A frame that the driver injects at the MAC layer leaves the guest as it is."""
    server = stations.add(STATION).udp(53)
    packet = IP(src="192.0.2.2", dst=STATION) / UDP(sport=1111, dport=53) / Raw(b"made up")
    frame = Ether(src=frames.GUEST_MAC, dst=frames.GATEWAY_MAC) / packet

    driver.inject(InjectPath.MAC_SEND, bytes(frame))
    received = server.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"made up")
    expect(witness).one(src="192.0.2.2:1111", dst=f"{STATION}:53", checksums="right")
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")
