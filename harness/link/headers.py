"""Reading the headers of a frame with `struct`, for paths that see every frame.

It reads what is there and says whether the checksums are right; dissection in depth is Scapy's work.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from harness.link.checksum import internet_checksum, is_valid, pseudo_header

ETH_IPV4, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6"}

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

_FRAGMENT = 44
_EXTENSIONS = (0, 43, _FRAGMENT, 60)  # hop-by-hop options, routing, fragment, destination options

_TCP = struct.Struct(">HHIIBBHHH")
_PORTS = struct.Struct(">HH")


@dataclass(slots=True)
class IpPacket:
    """An IP packet inside a frame; addresses packed, `body` the transport header and payload without any padding.

    `trouble` is None, or says what is wrong with the packet: a length or a checksum. Of a fragment only the IP
    header can be checked.
    """

    source_mac: bytes
    source: bytes
    destination: bytes
    protocol: int
    body: bytes
    fragment: bool
    trouble: str | None

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port of TCP and UDP; zeros where there are none."""
        if self.protocol not in (TCP, UDP) or len(self.body) < 4 or self.fragment:
            return 0, 0
        source, destination = _PORTS.unpack_from(self.body)
        return source, destination

    @property
    def payload(self) -> bytes:
        """What follows the transport header."""
        if self.fragment:
            return self.body
        if self.protocol == TCP and len(self.body) >= 20:
            return self.body[(self.body[12] >> 4) * 4 :]
        if self.protocol in (UDP, ICMP, ICMPV6):
            return self.body[8:]
        return self.body


@dataclass(slots=True)
class TcpSegment:
    """The fields of a TCP segment."""

    source_port: int
    destination_port: int
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    payload: bytes


def ether_type(frame: bytes) -> int:
    """EtherType of a frame; 0 for a runt."""
    return int.from_bytes(frame[12:14], "big") if len(frame) >= 14 else 0


def parse_ip(frame: bytes) -> IpPacket | None:
    """The IP packet in a frame, or None if it holds none (or one whose header cannot be read)."""
    kind = ether_type(frame)
    if kind == ETH_IPV4:
        return _parse_ipv4(frame)
    if kind == ETH_IPV6:
        return _parse_ipv6(frame)
    return None


def parse_tcp(packet: IpPacket) -> TcpSegment | None:
    """The TCP segment in a packet, or None if its header is cut short."""
    body = packet.body
    if packet.protocol != TCP or packet.fragment or len(body) < 20:
        return None
    source, destination, seq, ack, offset, flags, window, _, _ = _TCP.unpack_from(body)
    length = (offset >> 4) * 4
    if not 20 <= length <= len(body):
        return None
    return TcpSegment(source, destination, seq, ack, flags, window, body[20:length], body[length:])


def address_text(packed: bytes) -> str:
    """An address of 4 or 16 bytes as text."""
    return str(ipaddress.ip_address(packed))


def endpoint_text(address: str, port: int) -> str:
    """An address with a port as one word: `192.0.2.2:80` or `[2001:db8::2]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _parse_ipv4(frame: bytes) -> IpPacket | None:
    if len(frame) < 34 or frame[14] >> 4 != 4:
        return None
    header_length = (frame[14] & 0x0F) * 4
    total = int.from_bytes(frame[16:18], "big")
    available = len(frame) - 14
    if header_length < 20 or total < header_length or header_length > available:
        return None
    header = frame[14 : 14 + header_length]
    fragment = int.from_bytes(header[6:8], "big") & 0x3FFF != 0
    packet = IpPacket(
        frame[6:12], header[12:16], header[16:20], header[9], frame[14 + header_length : 14 + total], fragment, None
    )
    if total > available:
        packet.trouble = f"The IP header announces {total} bytes, the frame holds {available}"
    elif not is_valid(header):
        packet.trouble = _wrong("IP header", header, 10)
    elif not fragment:
        packet.trouble = _transport_trouble(packet)
    return packet


def _parse_ipv6(frame: bytes) -> IpPacket | None:
    if len(frame) < 54 or frame[14] >> 4 != 6:
        return None
    length = int.from_bytes(frame[18:20], "big")
    available = len(frame) - 54
    protocol, at, fragment = _skip_extensions(frame[20], frame[54 : 54 + length])
    packet = IpPacket(frame[6:12], frame[22:38], frame[38:54], protocol, frame[54 + at : 54 + length], fragment, None)
    if length > available:
        packet.trouble = f"The IPv6 header announces {length} bytes, the frame holds {available}"
    elif not fragment:
        packet.trouble = _transport_trouble(packet)
    return packet


def _skip_extensions(protocol: int, body: bytes) -> tuple[int, int, bool]:
    """What follows the extension headers, where it begins, and whether it is a fragment; of broken ones the first."""
    at, fragment = 0, False
    while protocol in _EXTENSIONS and not fragment and at + 8 <= len(body):
        units = 1 if protocol == _FRAGMENT else body[at + 1] + 1
        if at + units * 8 > len(body):
            break
        # Offset and "more to come"; a fragment that is the whole packet is none (RFC 6946).
        fragment = protocol == _FRAGMENT and int.from_bytes(body[at + 2 : at + 4], "big") & 0xFFF9 != 0
        protocol, at = body[at], at + units * 8
    return protocol, at, fragment


def _transport_trouble(packet: IpPacket) -> str | None:
    body, protocol = packet.body, packet.protocol
    if protocol == ICMP and len(packet.source) == 4:
        return None if is_valid(body) else _wrong("ICMP", body, 2)
    if protocol not in (TCP, UDP, ICMPV6):
        return None
    name, minimum, at = {TCP: ("TCP", 20, 16), UDP: ("UDP", 8, 6), ICMPV6: ("ICMPv6", 4, 2)}[protocol]
    if len(body) < minimum:
        return f"The {name} header is cut short: {len(body)} bytes"
    if protocol == UDP:
        length = int.from_bytes(body[4:6], "big")
        if not 8 <= length <= len(body):
            return f"The UDP header announces {length} bytes, the packet holds {len(body)}"
        body = body[:length]
        if body[6:8] == b"\0\0" and len(packet.source) == 4:
            return None  # RFC 768: the sender made none
    pseudo = pseudo_header(packet.source, packet.destination, protocol, len(body))
    return None if is_valid(pseudo + body) else _wrong(name, body, at, pseudo)


def _wrong(name: str, data: bytes, at: int, pseudo: bytes = b"") -> str:
    seen = int.from_bytes(data[at : at + 2], "big")
    wanted = internet_checksum(pseudo + data[:at] + b"\0\0" + data[at + 2 :])
    return f"The {name} checksum is 0x{seen:04x}, should be 0x{wanted:04x}"
