"""Conversations: the packets that two ends exchanged, both ways, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.capture.packet import Packet
from harness.link.headers import (
    ACK,
    FIN,
    ICMP,
    ICMPV6,
    PROTOCOL_NAMES,
    RST,
    SYN,
    TCP,
    UDP,
    IpPacket,
    address_text,
    endpoint_text,
    parse_tcp,
)

End = tuple[bytes, int]
"""A packed address and a port; the identifier instead of the port for echo requests and replies."""

_BEFORE_FRAGMENT = (0, 43, 60)  # extension headers of IPv6
_ECHO = {ICMP: (0, 8), ICMPV6: (128, 129)}


@dataclass(frozen=True, slots=True)
class Conversation:
    """What two ends exchanged by one protocol; `first` is the end that sent the first of its packets.

    A TCP connection that was opened anew between the same ports is a conversation of its own.
    """

    protocol: int
    first: End
    second: End
    packets: tuple[Packet, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Places in the file of its packets."""
        return tuple(packet.number for packet in self.packets)

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, f"ip-{self.protocol}")
        with_ports = self.first[1] or self.second[1]
        ends = [
            endpoint_text(address_text(address), port) if with_ports else address_text(address)
            for address, port in (self.first, self.second)
        ]
        return f"{name} {ends[0]} > {ends[1]}"


@dataclass(slots=True)
class _Open:
    """A conversation while it is put together."""

    protocol: int
    first: End
    second: End
    packets: list[Packet]
    has_ended: bool = False


def conversations_of(packets: Iterable[Packet]) -> tuple[Conversation, ...]:
    """The conversations, in the order of their first packets; a fragment goes with the first one of its packet."""
    found: list[_Open] = []
    current: dict[tuple[int, frozenset[End] | tuple[End]], _Open] = {}
    fragments: dict[bytes, _Open] = {}
    for packet in packets:
        ip = packet.ip
        if ip is None:
            continue
        datagram, offset = _fragment_of(packet.data) if ip.fragment else (None, 0)
        if datagram is not None and datagram in fragments:
            fragments[datagram].packets.append(packet)
            continue
        source, destination = _ends(ip, offset)
        key = (ip.protocol, frozenset((source, destination)))
        open_now = current.get(key)
        flags = _tcp_flags(ip)
        if open_now is None or (open_now.has_ended and flags & (SYN | ACK) == SYN):
            open_now = current[key] = _Open(ip.protocol, source, destination, [])
            found.append(open_now)
        open_now.packets.append(packet)
        open_now.has_ended = open_now.has_ended or bool(flags & (FIN | RST))
        if datagram is not None:
            fragments[datagram] = open_now
    return tuple(Conversation(one.protocol, one.first, one.second, tuple(one.packets)) for one in found)


def _ends(ip: IpPacket, offset: int) -> tuple[End, End]:
    source, destination = ip.ports
    if ip.fragment and offset == 0 and ip.protocol in (TCP, UDP):
        source, destination = int.from_bytes(ip.body[:2], "big"), int.from_bytes(ip.body[2:4], "big")
    elif not ip.fragment and len(ip.body) >= 6 and ip.body[0] in _ECHO.get(ip.protocol, ()):
        source = destination = int.from_bytes(ip.body[4:6], "big")
    return (ip.source, source), (ip.destination, destination)


def _tcp_flags(ip: IpPacket) -> int:
    segment = parse_tcp(ip)
    return segment.flags if segment is not None else 0


def _fragment_of(data: bytes) -> tuple[bytes, int]:
    """What all fragments of one packet have in common, and where this one begins in it, in bytes."""
    if data[0] >> 4 == 4:
        return data[4:6] + data[9:10] + data[12:20], (int.from_bytes(data[6:8], "big") & 0x1FFF) * 8
    at, following = 40, data[6]
    while following in _BEFORE_FRAGMENT and at + 8 <= len(data):
        following, at = data[at], at + (data[at + 1] + 1) * 8
    return data[at + 4 : at + 8] + data[8:40], int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF8
