"""Stations: what the guest asks is answered as hosts answer, what is wrong is counted and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP, UDP, UDPerror
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from harness.config import NetworkSettings
from harness.errors import DeadlineExpired, UsageError
from harness.link import Direction, MemoryLink
from harness.link.headers import parse_ip
from harness.traffic import Stations, frames
from harness.waiting import Deadline

GUEST = {"src": "52:54:00:77:66:10", "dst": "02:00:c0:00:02:01"}


class Guest:
    """The other end of the link: sends what a test says and dissects what comes back."""

    def __init__(self, link: MemoryLink, stations_end: MemoryLink) -> None:
        self.link, self.stations_end = link, stations_end
        self.frames: list[bytes] = []
        link.subscribe(lambda direction, frame, when: self.frames.append(frame), Direction.FROM_GUEST)

    def ask(self, packet: Ether) -> list[Ether]:
        """The answers to one frame, complete: both links have delivered everything."""
        self.frames.clear()
        self.link.send(bytes(packet))
        self.stations_end.settle(Deadline(60))
        self.link.settle(Deadline(60))
        return [Ether(frame) for frame in self.frames]


@pytest.fixture
def sides():
    first, second = MemoryLink.pair()
    with first, second, Stations(first) as stations:
        yield stations, Guest(second, first)
        assert first.failure is None


def test_arp_is_answered_for_the_gateway_and_for_neighbours_only(sides) -> None:
    stations, guest = sides
    stations.add("192.0.2.77")
    stations.add("198.51.100.5")  # behind the gateway: no neighbour of the guest
    asked = {
        address: guest.ask(Ether(**GUEST) / ARP(hwsrc=GUEST["src"], psrc="192.0.2.2", pdst=address))
        for address in ("192.0.2.1", "192.0.2.77", "192.0.2.78")
    }
    gateway, neighbour = asked["192.0.2.1"][0][ARP], asked["192.0.2.77"][0][ARP]
    assert (gateway.op, gateway.psrc, gateway.hwdst) == (2, "192.0.2.1", GUEST["src"])
    assert neighbour.hwsrc != gateway.hwsrc
    assert asked["192.0.2.78"] == []


def test_nobody_answers_when_the_guest_checks_that_its_own_address_is_free(sides) -> None:
    _, guest = sides
    assert guest.ask(Ether(**GUEST) / ARP(hwsrc=GUEST["src"], psrc="192.0.2.2", pdst="192.0.2.2")) == []


def test_echo_requests_are_answered_with_their_own_data(sides) -> None:
    stations, guest = sides
    stations.add("198.51.100.5")
    request = IP(src="192.0.2.2", dst="198.51.100.5") / ICMP(id=7, seq=9) / b"data of an odd length"
    (reply,) = guest.ask(Ether(**GUEST) / request)
    assert (reply[IP].src, reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq) == ("198.51.100.5", 0, 7, 9)
    assert bytes(reply[ICMP].payload) == b"data of an odd length"
    assert parse_ip(bytes(reply)).trouble is None


def test_ipv6_neighbours_are_found_and_answer_echo(sides) -> None:
    _, guest = sides
    question = IPv6(src="2001:db8::2", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="2001:db8::1")
    (advertised,) = guest.ask(Ether(**GUEST) / question)
    assert advertised[ICMPv6ND_NA].tgt == "2001:db8::1"
    assert advertised.lladdr == "02:00:c0:00:02:01"
    assert parse_ip(bytes(advertised)).trouble is None
    (reply,) = guest.ask(Ether(**GUEST) / IPv6(src="2001:db8::2", dst="2001:db8::1") / ICMPv6EchoRequest(data=b"x"))
    assert reply[ICMPv6EchoReply].data == b"x"


def test_a_wrong_checksum_is_dropped_counted_and_named(sides) -> None:
    stations, guest = sides
    received = stations.gateway.udp(53)
    answers = guest.ask(Ether(**GUEST) / IP(src="192.0.2.2", dst="192.0.2.1") / UDP(dport=53, chksum=1) / b"x")
    assert answers == []
    assert received.received == []
    assert stations.counters.bad_packets == 1
    assert stations.bad_packets[0].startswith("The UDP checksum is 0x0001, should be 0x")


def test_a_closed_udp_port_is_unreachable_and_an_unknown_address_is_silence(sides) -> None:
    stations, guest = sides
    datagram = IP(src="192.0.2.2", dst="192.0.2.1") / UDP(sport=5, dport=54) / b"x"
    (answer,) = guest.ask(Ether(**GUEST) / datagram)
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 3)
    assert answer[ICMP].payload[UDPerror].dport == 54
    assert guest.ask(Ether(**GUEST) / IP(src="192.0.2.2", dst="203.0.113.9") / UDP() / b"x") == []
    assert (stations.counters.refused, stations.counters.unanswered) == (1, 1)


def test_udp_goes_both_ways(twins: tuple[Stations, Stations]) -> None:
    host, guest = twins
    deadline = Deadline(60)
    server = host.add("198.51.100.5").udp(53)
    client = guest.gateway.udp()
    client.send_to("198.51.100.5", 53, b"question")
    question = server.receive(deadline)
    assert (question.payload, question.source, question.source_port) == (b"question", "192.0.2.2", client.local.port)
    server.send_to(question.source, question.source_port, b"answer")
    assert client.receive(deadline).payload == b"answer"
    with pytest.raises(UsageError, match="A datagram of 1473 bytes does not fit"):
        client.send_to("198.51.100.5", 53, bytes(1473))


def test_ping_is_a_fence(make_twins: Callable) -> None:
    host, guest, _, _ = make_twins()
    socket = guest.gateway.udp(9)
    sender = host.gateway.udp()
    for number in range(200):
        sender.send_to("192.0.2.2", 9, bytes((number,)))
    assert host.ping(Deadline(60)) > 0
    assert [datagram.payload[0] for datagram in socket.received] == list(range(200))
    assert host.arp_ping(Deadline(60)) > 0


def test_ping_says_that_the_guest_is_silent(sides) -> None:
    stations, _ = sides
    with pytest.raises(DeadlineExpired, match=r"the guest to answer a ping from 192\.0\.2\.1"):
        stations.ping(Deadline(0.05))


@pytest.mark.parametrize("address", ["example", "192.0.2.256", ""])
def test_a_station_needs_an_address(sides, address: str) -> None:
    stations, _ = sides
    with pytest.raises(UsageError, match="is not an IP address"):
        stations.add(address)


def test_a_crafted_frame_keeps_its_wrong_checksum() -> None:
    wrong = parse_ip(frames.udp("198.51.100.5", "192.0.2.2", 53, 1000, b"x", checksum=0xBAD))
    right = parse_ip(frames.tcp("198.51.100.5", "192.0.2.2", 80, 1000, flags="SA"))
    assert "The UDP checksum is 0x0bad" in wrong.trouble
    assert right.trouble is None


def test_fragments_carry_the_whole_packet_and_are_told_as_such() -> None:
    parts = frames.fragments(frames.ip("198.51.100.5", "192.0.2.2", UDP(sport=1, dport=2) / bytes(3000)))
    parsed = [parse_ip(part) for part in parts]
    assert sum(len(part.body) for part in parsed) == 3008
    assert all(part.fragment and part.trouble is None for part in parsed)


@pytest.mark.parametrize(("guest", "host"), [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")])
def test_an_echo_request_is_answered_and_waited_for_by_nobody(make_twins: Callable, guest: str, host: str) -> None:
    stations, _, link, other = make_twins()
    answers: list[bytes] = []
    link.subscribe(lambda _, frame, when: answers.append(frame), Direction.FROM_GUEST)
    stations.add(host).send_echo(guest, b"are you there")
    other.settle(Deadline(60))  # the request has arrived and was answered
    link.settle(Deadline(60))
    assert [packet.payload for frame in answers if (packet := parse_ip(frame))] == [b"are you there"]


def test_stations_stand_where_the_profile_says() -> None:
    network = NetworkSettings(
        ipv4="10.1.0.2/16", ipv4_gateway="10.1.0.1", ipv6="2001:db8:7::2/56", ipv6_gateway="2001:db8:7::1"
    )
    first, second = MemoryLink.pair()
    with first, second, Stations.beside(network, first, guest_mac="02:00:c0:00:02:02") as stations:
        assert (stations.guest_ip, stations.guest_ip6) == ("10.1.0.2", "2001:db8:7::2")
        assert (stations.gateway.address, stations.gateway6.address) == ("10.1.0.1", "2001:db8:7::1")
        assert stations.add("2001:db8:7:1::5").mac != stations.gateway6.mac
        assert stations.add("2001:db8:8::5").mac == stations.gateway6.mac
