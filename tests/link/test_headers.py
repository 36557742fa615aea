"""Reading headers: what Scapy builds is read back, what is broken is named, what is hostile never raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Ether

from harness.link.headers import address_text, parse_ip, parse_tcp

MACS = {"src": "52:54:00:77:66:10", "dst": "02:00:c0:00:02:01"}
V4 = Ether(**MACS) / IP(src="192.0.2.2", dst="198.51.100.5")
V6 = Ether(**MACS) / IPv6(src="2001:db8::2", dst="2001:db8::5")


@pytest.mark.parametrize(
    "packet",
    [
        V4 / TCP(sport=1, dport=2) / b"odd",
        V4 / UDP(sport=1, dport=2) / b"even",
        V4 / ICMP() / b"ping",
        V6 / TCP(sport=1, dport=2) / b"odd",
        V6 / UDP(sport=1, dport=2) / b"even",
        V6 / ICMPv6EchoRequest(data=b"ping"),
    ],
    ids=lambda packet: packet.summary(),
)
def test_right_checksums_pass_and_any_wrong_byte_is_named(packet: Ether) -> None:
    raw = bytes(packet)
    good = parse_ip(raw + bytes(6))  # padding of a short frame belongs to nothing
    assert good is not None
    assert good.trouble is None
    assert address_text(good.destination) == packet.payload.dst
    assert len(good.body) == len(raw) - len(packet) + len(packet.payload.payload)

    broken = parse_ip(raw[:-1] + bytes((raw[-1] ^ 1,)))
    assert broken is not None
    assert "checksum is 0x" in (broken.trouble or "")


def test_wrong_ip_header_checksum_says_what_it_should_be() -> None:
    right = IP(bytes(V4 / UDP())[14:]).chksum
    packet = V4.copy() / UDP()
    packet[IP].chksum = 0x1234
    found = parse_ip(bytes(packet))
    assert found is not None
    assert found.trouble == f"The IP header checksum is 0x1234, should be 0x{right:04x}"


def test_what_follows_ipv6_extension_headers_is_found_and_checked() -> None:
    options = IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
    raw = bytes(V6 / options / UDP(sport=1, dport=53) / b"x")
    found = parse_ip(raw)
    assert found is not None
    assert (found.protocol, found.ports, found.payload, found.trouble) == (17, (1, 53), b"x", None)
    broken = parse_ip(raw[:-1] + b"y")
    assert broken is not None
    assert "UDP checksum" in (broken.trouble or "")


@pytest.mark.parametrize(("offset", "more", "fragment"), [(0, 1, True), (9, 0, True), (0, 0, False)])
def test_an_ipv6_fragment_is_one_unless_it_is_the_whole_packet(offset: int, more: int, fragment: bool) -> None:
    found = parse_ip(bytes(V6 / IPv6ExtHdrFragment(offset=offset, m=more) / UDP(sport=1, dport=53) / b"x"))
    assert found is not None
    assert (found.fragment, found.protocol, found.trouble) == (fragment, 17, None)


def test_an_extension_header_longer_than_its_packet_is_left_where_it_is() -> None:
    raw = bytearray(bytes(V6 / bytes([17, 200] + [0] * 14)))
    raw[20] = 60  # destination options
    found = parse_ip(bytes(raw))
    assert found is not None
    assert (found.protocol, len(found.body)) == (60, 16)


def test_a_udp_checksum_of_zero_is_none_at_all_in_ipv4_and_wrong_in_ipv6() -> None:
    four, six = parse_ip(bytes(V4 / UDP(chksum=0) / b"x")), parse_ip(bytes(V6 / UDP(chksum=0) / b"x"))
    assert four is not None
    assert four.trouble is None
    assert six is not None
    assert "UDP checksum is 0x0000" in (six.trouble or "")


def test_a_frame_that_is_shorter_than_its_headers_say_is_named() -> None:
    found = parse_ip(bytes(V4 / UDP() / bytes(100))[:-40])
    assert found is not None
    assert "announces 128 bytes, the frame holds 88" in (found.trouble or "")


def test_tcp_fields_and_options_are_told_apart_from_the_payload() -> None:
    packet = V4 / TCP(sport=5, dport=6, seq=7, ack=8, flags="SA", window=9, options=[("MSS", 1400)]) / b"payload"
    ip = parse_ip(bytes(packet))
    assert ip is not None
    segment = parse_tcp(ip)
    assert segment is not None
    assert (segment.seq, segment.ack, segment.flags, segment.window) == (7, 8, 0x12, 9)
    assert segment.options == bytes.fromhex("02040578")
    assert segment.payload == ip.payload == b"payload"


@given(st.binary(max_size=120), st.sampled_from([b"\x08\x00", b"\x86\xdd"]), st.booleans())
def test_no_bytes_of_a_guest_raise(rest: bytes, kind: bytes, start_like_ip: bool) -> None:
    lead = {b"\x08\x00": b"\x45", b"\x86\xdd": b"\x60"}[kind] if start_like_ip else b""
    packet = parse_ip(bytes(12) + kind + lead + rest)
    if packet is not None:
        assert isinstance(packet.payload, bytes)
        assert len(packet.ports) == 2
        parse_tcp(packet)
