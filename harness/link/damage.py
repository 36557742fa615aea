"""Flipping bits in a frame, with or without a checksum that hides it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.link.checksum import internet_checksum, pseudo_header
from harness.link.headers import TCP, UDP, IpPacket, parse_ip, parse_tcp

_ETHERNET = 14


def choose_bits(frame: bytes, source: random.Random, count: int, *, mend: bool) -> list[int]:
    """Bits of the frame to flip, by their number from its beginning, most significant bit of a byte first; in order.

    Behind the Ethernet header, or, of what is to be mended, in the payload of TCP and UDP; none where there is none.
    """
    begin, end = _ETHERNET, len(frame)
    if mend:
        packet = parse_ip(frame)
        place = _payload(frame)
        if place is None or packet is None or packet.trouble is not None:
            return []
        begin, end = place
    room = max(0, end - begin) * 8
    return sorted(begin * 8 + bit for bit in source.sample(range(room), min(count, room)))


def flip_bits(frame: bytes, bits: Sequence[int]) -> bytes:
    """The frame with these bits flipped."""
    damaged = bytearray(frame)
    for bit in bits:
        damaged[bit >> 3] ^= 0x80 >> (bit & 7)
    return bytes(damaged)


def mend_checksum(frame: bytes) -> bytes:
    """The frame with the checksum of its TCP or UDP header made right; any other frame as it is."""
    packet = parse_ip(frame)
    place = _payload(frame)
    if packet is None or place is None:
        return frame
    at = 16 if packet.protocol == TCP else 6
    covered = packet.body if packet.protocol == TCP else packet.body[: int.from_bytes(packet.body[4:6], "big")]
    body = covered[:at] + b"\0\0" + covered[at + 2 :]
    checksum = internet_checksum(pseudo_header(packet.source, packet.destination, packet.protocol, len(body)) + body)
    if packet.protocol != TCP:
        checksum = checksum or 0xFFFF
    begin = _body_begin(frame, packet) + at
    return frame[:begin] + checksum.to_bytes(2, "big") + frame[begin + 2 :]


def _payload(frame: bytes) -> tuple[int, int] | None:
    """Where the payload of TCP or UDP begins and ends whatever its checksum; None where there is none."""
    packet = parse_ip(frame)
    if packet is None or packet.fragment or packet.protocol not in (TCP, UDP):
        return None
    if packet.protocol == TCP and parse_tcp(packet) is None:
        return None
    begin = _body_begin(frame, packet)
    payload = len(packet.payload)
    end = begin + len(packet.body)
    return (end - payload, end) if payload else None


def _body_begin(frame: bytes, packet: IpPacket) -> int:
    total = 16 if len(packet.source) == 4 else 18
    length = int.from_bytes(frame[total : total + 2], "big") + (0 if len(packet.source) == 4 else 40)
    return _ETHERNET + length - len(packet.body)
