"""Packets are put together to conversations as their two ends would tell them."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw

from harness.capture import Capture, Note, Packet

A, B = "198.51.100.1", "203.0.113.2"


def capture(*packets: ScapyPacket, notes: tuple[Note, ...] = ()) -> Capture:
    raw = [bytes(packet) for packet in packets]
    return Capture(tuple(Packet(n, n, data, len(data)) for n, data in enumerate(raw, 1)), notes)


def test_both_ways_are_one_conversation() -> None:
    there = IP(src=A, dst=B) / TCP(sport=1000, dport=80)
    back = IP(src=B, dst=A) / TCP(sport=80, dport=1000, flags="SA")
    other = IP(src=A, dst=B) / TCP(sport=1001, dport=80)
    found = capture(there, other, back, there).conversations()
    assert [(str(one), one.numbers) for one in found] == [
        ("tcp 198.51.100.1:1000 > 203.0.113.2:80", (1, 3, 4)),
        ("tcp 198.51.100.1:1001 > 203.0.113.2:80", (2,)),
    ]


def test_protocols_and_families_are_apart() -> None:
    packets = [kind() / layer(sport=5, dport=6) for kind in (IP, IPv6) for layer in (TCP, UDP)]
    assert len(capture(*packets).conversations()) == 4


def test_a_connection_opened_anew_after_its_end_is_another() -> None:
    def segment(flags: str) -> ScapyPacket:
        return IP(src=A, dst=B) / TCP(sport=1000, dport=80, flags=flags)

    found = capture(segment("S"), segment("S"), segment("FA"), segment("A"), segment("S"), segment("R")).conversations()
    assert [one.numbers for one in found] == [(1, 2, 3, 4), (5, 6)]


def test_echo_goes_by_its_identifier_and_other_icmp_by_its_hosts() -> None:
    found = capture(
        IP(src=A, dst=B) / ICMP(id=7),
        IP(src=A, dst=B) / ICMP(id=8),
        IP(src=B, dst=A) / ICMP(type=0, id=7),
        IP(src=B, dst=A) / ICMP(type=3, code=3) / Raw(bytes(28)),
        IPv6(src="::1", dst="::2") / ICMPv6EchoRequest(id=9),
        IPv6(src="::2", dst="::1") / ICMPv6EchoReply(id=9),
    ).conversations()
    assert [one.numbers for one in found] == [(1, 3), (2,), (4,), (5, 6)]


def test_fragments_go_with_their_first() -> None:
    four = fragment(IP(src=A, dst=B, id=3) / UDP(sport=1, dport=2) / Raw(bytes(2000)), 800)
    six = fragment6(
        IPv6(src="::1", dst="::2") / IPv6ExtHdrFragment(id=4) / UDP(sport=1, dport=2) / Raw(bytes(2000)), 1280
    )
    whole = IP(src=B, dst=A) / UDP(sport=2, dport=1)
    found = capture(*four, whole, *six).conversations()
    assert [one.numbers for one in found] == [(1, 2, 3, 4), (5, 6)]


def test_keeping_keeps_numbers_and_their_notes() -> None:
    packet = IP(src=A, dst=B) / UDP()
    notes = (Note(None, "All."), Note(1, "One."), Note(2, "Two."))
    kept = capture(packet, packet, packet, notes=notes).keeping({2, 3, 99})
    assert kept.numbers == (2, 3)
    assert kept.notes == (notes[0], notes[2])
