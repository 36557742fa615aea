"""Rewritten packets have the checksums that they should: right ones, or as wrong as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw

from harness.capture import Packet
from harness.link.checksum import ones_sum, pseudo_header
from harness.link.headers import parse_ip
from harness.reproduce.rewriting import readdressed
from harness.traffic.address import pack_address

NEW4 = pack_address("203.0.113.99"), pack_address("192.0.2.2")
NEW6 = pack_address("2001:db8:9::9"), pack_address("2001:db8::2")


def packet(made: ScapyPacket) -> Packet:
    data = bytes(made)
    return Packet(1, 0, data, len(data))


def trouble(data: bytes) -> str | None:
    found = parse_ip(bytes(12) + (b"\x86\xdd" if data[0] >> 4 == 6 else b"\x08\0") + data)
    assert found
    return found.trouble


payloads = st.binary(max_size=64)


@given(payloads, st.integers(1, 255), st.sampled_from([TCP(), UDP(), ICMP()]))
def test_ipv4_stays_sound_and_keeps_the_rest(payload: bytes, ttl: int, layer: ScapyPacket) -> None:
    made = readdressed(packet(IP(src="10.0.0.1", dst="10.0.0.2", ttl=ttl, id=77, tos=8) / layer / Raw(payload)), *NEW4)
    assert trouble(made) is None
    again = IP(made)
    assert (again.src, again.dst, again.ttl, again.id, again.tos) == ("203.0.113.99", "192.0.2.2", ttl, 77, 8)
    assert made.endswith(payload)


@given(payloads, st.sampled_from([TCP(), UDP(), ICMPv6EchoRequest()]), st.booleans())
def test_ipv6_stays_sound(payload: bytes, layer: ScapyPacket, with_options: bool) -> None:
    head = IPv6(src="2001:db8:1::1", dst="2001:db8:2::2", fl=5)
    body = IPv6ExtHdrDestOpt() / layer if with_options else layer
    made = readdressed(packet(head / body / Raw(payload)), *NEW6)
    assert trouble(made) is None
    assert IPv6(made).fl == 5


def test_a_wrong_checksum_stays_wrong() -> None:
    for layer in (TCP(chksum=0x1234), UDP(chksum=0x1234)):
        made = readdressed(packet(IP(src="10.0.0.1", dst="10.0.0.2") / layer / Raw(b"data")), *NEW4)
        assert "checksum" in (trouble(made) or "")


@pytest.mark.parametrize("protocol", [6, 17])
def test_a_checksum_left_to_the_adapter_is_made(protocol: int) -> None:
    layer = TCP() if protocol == 6 else UDP()
    size = len(bytes(layer)) + 4
    partial = ones_sum(pseudo_header(pack_address("10.0.0.1"), pack_address("10.0.0.2"), protocol, size))
    layer.chksum = partial
    made = readdressed(packet(IP(src="10.0.0.1", dst="10.0.0.2") / layer / Raw(b"data")), *NEW4)
    assert trouble(made) is None


def test_udp_without_a_checksum_stays_without() -> None:
    made = readdressed(packet(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(chksum=0) / Raw(b"data")), *NEW4)
    assert made[26:28] == b"\0\0"


def test_what_was_cut_is_zeros_with_a_right_checksum() -> None:
    whole = packet(IP(src="10.0.0.1", dst="10.0.0.2") / UDP() / Raw(b"payload"))
    made = readdressed(replace(whole, data=whole.data[:-4]), *NEW4)
    assert trouble(made) is None
    assert made.endswith(b"pay\0\0\0\0")
