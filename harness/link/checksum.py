"""The Internet checksum (RFC 1071), fast enough to be verified on every frame."""

from __future__ import annotations

import struct


def ones_sum(data: bytes) -> int:
    """Ones' complement sum of the 16-bit words of `data`, 0 to 0xFFFF; an odd last byte is padded with zero.

    65536 is 1 modulo 65535, so that the sum of the words is the whole number modulo 65535: one division in C.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    if number == 0:
        return 0
    return number % 0xFFFF or 0xFFFF


def internet_checksum(data: bytes) -> int:
    """Checksum to put into a header whose checksum field is zero in `data`."""
    return 0xFFFF ^ ones_sum(data)


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """What TCP, UDP and ICMPv6 add to their checksum: IPv4's form for 4-byte addresses, IPv6's for 16."""
    if len(source) == 4:
        return source + destination + struct.pack(">BBH", 0, protocol, length)
    return source + destination + struct.pack(">II", length, protocol)


def is_valid(data: bytes) -> bool:
    """Whether `data`, its checksum field included, sums up as it must."""
    return ones_sum(data) == 0xFFFF
