"""What no filter may break: addresses, names, both kinds of IP, the errors of ICMP, sockets."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from harness.expect import expect
from harness.traffic import frames
from harness.waiting import Deadline

BROADCAST = "ff:ff:ff:ff:ff:ff"
NARROW = 1300  # bytes of an IP packet; IPv6 allows no less than 1280
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = b"\x87", b"\x88"


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.NetworkingFundamental.SupportAddressResolution")
def test_arp_works_both_ways(at_work, probe, stations, witness, fence):
    """The guest answers ARP requests, and asks by ARP before it speaks to a new neighbour."""
    stations.add("192.0.2.77").tcp_listen(80)

    stations.arp_ping(Deadline(10))
    client = probe.tcp_connect("192.0.2.77:80")
    fence()

    expect(client).connected()
    asked = [ARP in Ether(frame.raw) and Ether(frame.raw)[ARP].pdst == "192.0.2.77" for frame in witness.frames()]
    expect(any(asked)).equals(True)
    expect(witness).some(proto="arp", direction="from-guest")


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.NetworkingFundamental.SupportAddressResolution",
    "Filter.Driver.WindowsFilteringPlatform.Scenario.SupportICMPErrorMessages",
)
def test_neighbour_discovery_works_both_ways(at_work, probe, stations, link, witness, fence):
    """The guest solicits the address of a new neighbour, and advertises its own when it is asked."""
    from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6

    stations.add("2001:db8::77").tcp_listen(80)

    client = probe.tcp_connect("[2001:db8::77]:80")
    question = ICMPv6ND_NS(tgt="2001:db8::2") / ICMPv6NDOptSrcLLAddr(lladdr=frames.GATEWAY_MAC)
    ip = IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=255)
    link.send(bytes(Ether(src=frames.GATEWAY_MAC, dst=frames.GUEST_MAC) / ip / question))
    fence()

    expect(client).connected()
    sent = [frame for frame in witness.frames() if frame.direction == "from-guest" and frame.proto == "icmpv6"]
    kinds = {frame.ip.body[:1] for frame in sent if frame.ip is not None}
    expect(NEIGHBOUR_SOLICITATION in kinds).equals(True)
    expect(NEIGHBOUR_ADVERTISEMENT in kinds).equals(True)


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.NetworkingFundamental.SupportDynamicAddressing")
def test_dhcp_packets_pass(at_work, probe, stations, link, witness, fence):
    """A request leaves port 68 for port 67, and the answer arrives, sent to the guest or to everybody."""
    server = stations.add("192.0.2.1").udp(67)
    client = probe.udp_open("0.0.0.0:68")

    client.send_to("192.0.2.1:67", b"discover")
    request = server.receive(Deadline(10))
    server.send_to("192.0.2.2", 68, b"offer")
    offer, _ = client.receive_from()
    body = UDP(sport=67, dport=68) / Raw(b"acknowledge")
    link.send(bytes(frames.ip("192.0.2.1", "255.255.255.255", body, dst_mac=BROADCAST)))
    acknowledgement, _ = client.receive_from()
    fence()

    expect(request.payload).equals(b"discover")
    expect(offer).equals(b"offer")
    expect(acknowledgement).equals(b"acknowledge")
    expect(witness).one(direction="from-guest", sport=68, dport=67, checksums="right")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.NetworkingFundamental.SupportDynamicAddressing")
def test_dhcpv6_packets_pass(at_work, probe, stations, witness, fence):
    """For IPv6 a request leaves port 546 for port 547, and the answer arrives."""
    server = stations.add("2001:db8::1").udp(547, echo=True)
    client = probe.udp_open("[2001:db8::2]:546")

    client.send_to("[2001:db8::1]:547", b"solicit")
    answer, _ = client.receive_from()
    fence()

    expect(answer).equals(b"solicit")
    expect(len(server.received)).equals(1)
    expect(witness).one(direction="from-guest", sport=546, dport=547, checksums="right")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.NetworkingFundamental.SupportNameResolution")
def test_a_name_is_asked_for_and_the_answer_arrives(at_work, probe, stations, witness, fence, family):
    """A DNS query leaves for UDP port 53, and its answer reaches the socket that asked."""
    from scapy.layers.dns import DNS, DNSQR, DNSRR

    name = "www.example.com"
    query = DNS(id=7, rd=1, qd=DNSQR(qname=name))
    reply = DNS(id=7, qr=1, qd=DNSQR(qname=name), an=DNSRR(rrname=name, rdata="198.51.100.80"))
    server = stations.add(family.host).udp(53)
    resolver = probe.udp_open(family.end(family.guest, 0))

    resolver.send_to(family.end(family.host, 53), bytes(query))
    asked = server.receive(Deadline(10))
    server.send_to(family.guest, resolver.port, bytes(reply))
    answer, peer = resolver.receive_from()
    fence()

    expect(asked.payload).equals(bytes(query))
    expect(answer).equals(bytes(reply))
    expect(peer).equals(family.end(family.host, 53))
    expect(witness).one(direction="from-guest", dport=53, checksums="right")


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.NetworkingFundamental.SupportIPv4",
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.Winsock",
)
def test_ipv4_works(at_work, probe, stations, fence):
    """Echo, datagrams, and connections of both directions work over IPv4."""
    conversation(probe, stations, "198.51.100.5", "192.0.2.2", lambda address, port: f"{address}:{port}")
    fence()


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.NetworkingFundamental.SupportIPv6",
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.Winsock",
)
def test_ipv6_works(at_work, probe, stations, fence):
    """Echo, datagrams, and connections of both directions work over IPv6."""
    conversation(probe, stations, "2001:db8:99::5", "2001:db8::2", lambda address, port: f"[{address}]:{port}")
    fence()


def conversation(probe, stations, host, guest, end):
    """All kinds of talk between a station and the guest; both ends of connections see how the other one ends them."""
    station = stations.add(host)
    station.ping(Deadline(10))
    station.udp(7, echo=True)
    socket = probe.udp_open(end(guest, 7007))
    socket.send_to(end(host, 7), b"datagram")
    expect(socket.receive_from()).equals((b"datagram", end(host, 7)))

    listener = station.tcp_listen(80)
    client = probe.tcp_connect(end(host, 80))
    served = listener.wait_for_connection(Deadline(10))
    client.send(b"question")
    client.shutdown()
    expect(served.receive_all(Deadline(10))).equals(b"question")
    served.send(b"answer to a half-closed connection")
    served.close()
    expect(client.receive(34, exact=True)).equals(b"answer to a half-closed connection")
    expect(client.receive()).equals(b"")

    listening = probe.tcp_listen(end(guest, 8080))
    caller = station.tcp_connect(guest, 8080, Deadline(10))
    accepted = listening.accept()
    caller.send(b"from outside")
    expect(accepted.receive(12, exact=True)).equals(b"from outside")
    accepted.reset()
    caller.wait_closed(Deadline(10))
    expect(caller.error).equals("reset")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.Scenario.SupportICMPErrorMessages")
def test_errors_of_icmp_leave_the_guest(at_work, stations, witness, fence, family):
    """A datagram for a port that nobody has is answered with the error 'port unreachable'."""
    stations.add(family.host).udp(7000).send_to(family.guest, 7777, b"anybody in")
    fence()

    expect(witness).one(direction="from-guest", proto=family.icmp, dst=family.host)


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.Scenario.SupportICMPErrorMessages")
def test_a_router_that_finds_a_packet_too_big_is_heard(at_work, probe, stations, impair, witness, fence, ipv6):
    """Behind a link of 1300 bytes long segments arrive over IPv6: the error about the first makes them shorter."""
    stations.add(ipv6.host).tcp_listen(80, echo=True)
    client = probe.tcp_connect(ipv6.end(ipv6.host, 80))

    impair(mtu=NARROW)
    client.send(b"y" * 4200)
    echoed = client.receive(4200, exact=True, seconds=30)
    fence()

    expect(echoed).equals(b"y" * 4200)
    expect(witness).some(direction="to-guest", proto=ipv6.icmp)


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.Scenario.SupportICMPErrorMessages")
@pytest.mark.parametrize("kind", [pytest.param(11, id="time-exceeded"), pytest.param(12, id="parameter-problem")])
def test_errors_of_icmp_do_no_harm(at_work, probe, stations, link, witness, fence, kind):
    """An error about a segment, as a router would send it, leaves the connection alive."""
    listener = stations.add("198.51.100.5").tcp_listen(80, echo=True)
    client = probe.tcp_connect("198.51.100.5:80")
    client.send(b"x")
    client.receive(1, exact=True)
    fence()
    segment = next(f for f in witness.frames() if f.direction == "from-guest" and f.payload == b"x" and f.dport == 80)
    quoted = Raw(Ether(segment.raw).payload.build()[:28])

    link.send(bytes(frames.ip("192.0.2.1", "192.0.2.2", ICMP(type=kind) / quoted)))
    client.send(b"y" * 1400)
    echoed = client.receive(1400, exact=True)
    fence()

    expect(echoed).equals(b"y" * 1400)
    expect(len(listener.connections)).equals(1)
