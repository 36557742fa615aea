"""Putting frames together with `struct`, for answers that must be quick; crafted frames are made in `frames`."""

from __future__ import annotations

import struct
from itertools import count

from harness.link.checksum import internet_checksum, pseudo_header
from harness.link.headers import ETH_ARP, ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, TCP, UDP

ARP_REQUEST, ARP_REPLY = 1, 2
BROADCAST = b"\xff" * 6
ECHO = {4: (8, 0), 16: (128, 129)}  # ICMP types of request and reply, by length of the address

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_ARP = struct.Struct(">HHBBH6s4s6s4s")
_identification = count(1)


def ethernet(destination: bytes, source: bytes, kind: int, body: bytes) -> bytes:
    """An Ethernet frame."""
    return destination + source + struct.pack(">H", kind) + body


def ip_frame(
    destination_mac: bytes, source_mac: bytes, source: bytes, destination: bytes, protocol: int, body: bytes
) -> bytes:
    """An IPv4 or IPv6 packet (as the addresses are long) in an Ethernet frame."""
    if len(source) == 16:
        header = _IPV6.pack(6 << 28, len(body), protocol, 255, source, destination)
        return ethernet(destination_mac, source_mac, ETH_IPV6, header + body)
    # Don't fragment, time to live 64.
    fields = (0x45, 0, 20 + len(body), next(_identification) & 0xFFFF, 0x4000, 64, protocol)
    header = _IPV4.pack(*fields, 0, source, destination)
    header = _IPV4.pack(*fields, internet_checksum(header), source, destination)
    return ethernet(destination_mac, source_mac, ETH_IPV4, header + body)


def tcp_body(
    source: bytes,
    destination: bytes,
    ports: tuple[int, int],
    seq: int,
    ack: int,
    flags: int,
    window: int,
    payload: bytes = b"",
    options: bytes = b"",
) -> bytes:
    """A TCP segment with its checksum; `options` is padded to whole words."""
    options += b"\0" * (-len(options) % 4)
    head = struct.pack(
        ">HHIIBBH", *ports, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (20 + len(options)) // 4 << 4, flags, window
    )
    rest = b"\0\0" + options + payload  # urgent pointer first
    checksum = internet_checksum(
        pseudo_header(source, destination, TCP, len(head) + 2 + len(rest)) + head + b"\0\0" + rest
    )
    return head + checksum.to_bytes(2, "big") + rest


def udp_body(source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    """A UDP datagram with its checksum."""
    length = 8 + len(payload)
    head = struct.pack(">HHH", *ports, length)
    checksum = internet_checksum(pseudo_header(source, destination, UDP, length) + head + b"\0\0" + payload)
    return head + (checksum or 0xFFFF).to_bytes(2, "big") + payload


def icmp_body(source: bytes, destination: bytes, kind: int, code: int, rest: bytes) -> bytes:
    """An ICMP message, or ICMPv6 as the addresses are long; `rest` begins after the checksum."""
    head = bytes((kind, code))
    pseudo = b"" if len(source) == 4 else pseudo_header(source, destination, ICMPV6, 4 + len(rest))
    return head + internet_checksum(pseudo + head + b"\0\0" + rest).to_bytes(2, "big") + rest


def icmp_protocol(address: bytes) -> int:
    """Protocol number of the ICMP that goes with an address."""
    return ICMP if len(address) == 4 else ICMPV6


def arp_frame(
    operation: int, sender_mac: bytes, sender: bytes, target_mac: bytes, target: bytes, *, to: bytes
) -> bytes:
    """An ARP request or reply for IPv4 over Ethernet."""
    return ethernet(
        to, sender_mac, ETH_ARP, _ARP.pack(1, ETH_IPV4, 6, 4, operation, sender_mac, sender, target_mac, target)
    )


def parse_arp(frame: bytes) -> tuple[int, bytes, bytes, bytes] | None:
    """Operation, sender's MAC, sender's and target's address of an ARP frame of Ethernet and IPv4, or None."""
    if len(frame) < 42:
        return None
    hardware, protocol, _, _, operation, sender_mac, sender, _, target = _ARP.unpack_from(frame, 14)
    if (hardware, protocol) != (1, ETH_IPV4):
        return None
    return operation, sender_mac, sender, target
