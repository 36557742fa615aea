"""What a router does with a packet that is larger than the next link takes (RFC 791, RFC 1191, RFC 8201)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from harness.link.checksum import internet_checksum, pseudo_header
from harness.link.headers import ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, IpPacket, ether_type, parse_ip

_ETHERNET = 14
_DONT_FRAGMENT, _MORE = 0x4000, 0x2000
_ICMP_ERRORS = (3, 4, 5, 11, 12)
_MINIMUM_IPV6 = 1280


def packet_size(frame: bytes) -> int:
    """Bytes of the IP packet in a frame as its header has them, or of whatever the frame carries."""
    kind, available = ether_type(frame), max(0, len(frame) - _ETHERNET)
    if kind == ETH_IPV4 and available >= 20:
        return min(available, int.from_bytes(frame[16:18], "big"))
    if kind == ETH_IPV6 and available >= 40:
        return min(available, 40 + int.from_bytes(frame[18:20], "big"))
    return available


def may_be_cut(frame: bytes) -> bool:
    """Whether a router may cut this packet into fragments: IPv4 without "don't fragment"."""
    packet = parse_ip(frame)
    return packet is not None and len(packet.source) == 4 and not int.from_bytes(frame[20:22], "big") & _DONT_FRAGMENT


def cut(frame: bytes, mtu: int) -> list[bytes]:
    """The fragments of an IPv4 packet, none longer than `mtu`; IP options go with the first one alone."""
    header_length = (frame[14] & 0x0F) * 4
    total = int.from_bytes(frame[16:18], "big")
    head, body = frame[14 : 14 + header_length], frame[14 + header_length : 14 + total]
    word = int.from_bytes(head[6:8], "big")
    fragments, at = [], 0
    while at < len(body):
        own = head if at == 0 else head[:20]
        room = max(8, (mtu - len(own)) // 8 * 8)
        part = body[at : at + room]
        more = _MORE if at + len(part) < len(body) else word & _MORE
        offset = (word & 0x1FFF) + at // 8
        fields = bytearray(own)
        fields[0] = 0x40 | len(own) // 4
        fields[2:4] = (len(own) + len(part)).to_bytes(2, "big")
        fields[6:8] = (word & _DONT_FRAGMENT | more | offset).to_bytes(2, "big")
        fields[10:12] = b"\0\0"
        fields[10:12] = internet_checksum(bytes(fields)).to_bytes(2, "big")
        fragments.append(frame[:_ETHERNET] + bytes(fields) + part)
        at += len(part)
    return fragments


def too_big(frame: bytes, mtu: int, routers: tuple[str, str]) -> bytes | None:
    """The answer to the sender of a packet that does not fit; None where a router has to be silent.

    That is of errors of ICMP, of fragments but the first, and of what is no IP.
    """
    packet = parse_ip(frame)
    if packet is None or _must_be_silent(frame, packet):
        return None
    if len(packet.source) == 4:
        router = ip_address(routers[0]).packed
        quoted = frame[_ETHERNET : _ETHERNET + (frame[14] & 0x0F) * 4 + 8]
        body = _icmp(struct.pack(">BBHHH", 3, 4, 0, 0, mtu) + quoted, b"")
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, ICMP, 0, router, packet.source)
        header = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
    else:
        router = ip_address(routers[1]).packed
        quoted = frame[_ETHERNET : _ETHERNET + _MINIMUM_IPV6 - 48]
        pseudo = pseudo_header(router, packet.source, ICMPV6, 8 + len(quoted))
        body = _icmp(struct.pack(">BBHI", 2, 0, 0, mtu) + quoted, pseudo)
        header = struct.pack(">IHBB16s16s", 6 << 28, len(body), ICMPV6, 255, router, packet.source)
    return frame[6:12] + frame[0:6] + frame[12:14] + header + body


def _must_be_silent(frame: bytes, packet: IpPacket) -> bool:
    if len(packet.source) == 4:
        if int.from_bytes(frame[20:22], "big") & 0x1FFF:
            return True
        return packet.protocol == ICMP and packet.body[:1] != b"" and packet.body[0] in _ICMP_ERRORS
    return packet.protocol == ICMPV6 and packet.body[:1] != b"" and packet.body[0] < 128


def _icmp(message: bytes, pseudo: bytes) -> bytes:
    return message[:2] + internet_checksum(pseudo + message).to_bytes(2, "big") + message[4:]
