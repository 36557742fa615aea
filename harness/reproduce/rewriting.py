"""Packets of a capture as they go onto the link: other addresses, numbers of a live connection, right checksums.

What is not touched stays as it was captured: time to live, options of IP, identification. A checksum that was wrong
on the wire stays as wrong; one that the sender's adapter would have made (offload) is made.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from harness.capture import Packet
from harness.link.checksum import internet_checksum, is_valid, ones_sum, pseudo_header
from harness.link.headers import ICMP, ICMPV6, TCP, UDP

_ERRORS = {ICMP: (3, 4, 5, 11, 12), ICMPV6: (1, 2, 3, 4)}
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMPV6: 2}


def header_of(data: bytes) -> bytes:
    """The IP header of a packet, with options or extension headers, up to its transport header."""
    if data[0] >> 4 == 4:
        return data[: (data[0] & 15) * 4]
    at, following = 40, data[6]
    while following in (0, 43, 60) and at + 8 <= len(data):
        following, at = data[at], at + (data[at + 1] + 1) * 8
    return data[: min(at, len(data))]


def with_header(header: bytes, source: bytes, destination: bytes, body: bytes) -> bytes:
    """A packet with this header, these addresses and this body; lengths and the header's checksum are made right."""
    whole = bytearray(header)
    if len(source) == 4:
        whole[2:4] = (len(header) + len(body)).to_bytes(2, "big")
        whole[12:20] = source + destination
        whole[10:12] = b"\0\0"
        whole[10:12] = internet_checksum(bytes(whole)).to_bytes(2, "big")
    else:
        whole[4:6] = (len(header) - 40 + len(body)).to_bytes(2, "big")
        whole[8:40] = source + destination
    return bytes(whole) + body


def readdressed(packet: Packet, source: bytes, destination: bytes) -> bytes:
    """The packet between other addresses; what the capture cut from it is filled with zeros."""
    header = header_of(packet.data)
    body = bytearray(packet.data[len(header) :] + bytes(packet.length - len(packet.data)))
    ip = packet.ip
    at = _CHECKSUM_AT.get(ip.protocol) if ip is not None else None
    if ip is not None and at is not None and len(body) >= at + 2 and _holds_transport_header(packet.data, header):
        old = pseudo_header(ip.source, ip.destination, ip.protocol, len(body))
        new = pseudo_header(source, destination, ip.protocol, len(body))
        if packet.is_cut or is_unfinished(old, bytes(body), at):
            body[at : at + 2] = b"\0\0"
            body[at : at + 2] = (internet_checksum(new + bytes(body)) or 0xFFFF).to_bytes(2, "big")
        elif not (ip.protocol == UDP and len(source) == 4 and body[at : at + 2] == b"\0\0"):
            # RFC 1624: the sum changes by what the addresses changed, right or wrong as it was.
            was = int.from_bytes(body[at : at + 2], "big")
            total = (0xFFFF ^ was) + (0xFFFF ^ ones_sum(old)) + ones_sum(new)
            now = 0xFFFF ^ ones_sum(total.to_bytes(4, "big"))
            body[at : at + 2] = ((now or 0xFFFF) if ip.protocol == UDP else now).to_bytes(2, "big")
    elif ip is not None and ip.protocol == ICMP and packet.is_cut and not ip.fragment and len(body) >= 4:
        body[2:4] = b"\0\0"
        body[2:4] = internet_checksum(bytes(body)).to_bytes(2, "big")
    return with_header(header, source, destination, bytes(body))


def requoted(
    packet: bytes,
    protocol: int,
    to_link: Callable[[bytes], bytes],
    live_sequence: Callable[[tuple[int, int], bytes, int], int],
) -> bytes:
    """An ICMP error with the addresses that its quoted packet has on the link, and the number of a TCP segment.

    `live_sequence` gives that number for the quoted ports, the quoted destination on the link and the captured number.
    What is no error, or quotes too little, stays as it is.
    """
    header = header_of(packet)
    body = bytearray(packet[len(header) :])
    four = protocol == ICMP
    length, at, transport = (4, 12, (body[8] & 15) * 4) if four and len(body) > 8 else (16, 8, 40)
    quoted = body[8:]
    if len(quoted) < transport + 8 or body[0] not in _ERRORS[protocol] or quoted[0] >> 4 != (4 if four else 6):
        return packet
    destination = to_link(bytes(quoted[at + length : at + 2 * length]))
    quoted[at : at + 2 * length] = to_link(bytes(quoted[at : at + length])) + destination
    if four:
        quoted[10:12] = b"\0\0"
        quoted[10:12] = internet_checksum(bytes(quoted[:transport])).to_bytes(2, "big")
    if quoted[9 if four else 6] == TCP:
        source_port, port, seq = struct.unpack_from(">HHI", quoted, transport)
        live = live_sequence((source_port, port), destination, seq)
        quoted[transport + 4 : transport + 8] = live.to_bytes(4, "big")
    body[8:] = quoted
    body[2:4] = b"\0\0"
    pseudo = b"" if four else pseudo_header(packet[8:24], packet[24:40], ICMPV6, len(body))
    body[2:4] = internet_checksum(pseudo + bytes(body)).to_bytes(2, "big")
    return header + bytes(body)


def is_unfinished(pseudo: bytes, body: bytes, at: int) -> bool:
    """Whether the checksum is what a sender leaves to its adapter: the sum of the pseudo header alone."""
    seen = int.from_bytes(body[at : at + 2], "big")
    return seen == ones_sum(pseudo) and not is_valid(pseudo + body)


def checksum_error(packet: Packet, body: bytes) -> int:
    """By how much the checksum of a whole TCP segment was wrong on the wire; 0 for right and for offloaded ones."""
    ip = packet.ip
    if ip is None or packet.is_cut or ip.protocol != TCP or len(body) < 18:
        return 0
    pseudo = pseudo_header(ip.source, ip.destination, TCP, len(body))
    if is_unfinished(pseudo, body, 16):
        return 0
    right = internet_checksum(pseudo + body[:16] + b"\0\0" + body[18:])
    return (int.from_bytes(body[16:18], "big") - right) % 0xFFFF


def segment(
    addresses: tuple[bytes, bytes], head: tuple[int, int, int, int, int, int, int], options: bytes, payload: bytes,
    *, error: int = 0,
) -> bytes:  # fmt: skip
    """A TCP segment: ports, sequence and acknowledgement number, flags, window and urgent pointer in `head`."""
    source_port, port, seq, ack, flags, window, urgent = head
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    fields = struct.pack(
        ">HHIIBBH", source_port, port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset, flags & 0xFF, window
    )
    rest = urgent.to_bytes(2, "big") + options + payload
    pseudo = pseudo_header(*addresses, TCP, len(fields) + 2 + len(rest))
    checksum = internet_checksum(pseudo + fields + b"\0\0" + rest)
    if error:
        checksum = (checksum + error) % 0xFFFF
    return fields + checksum.to_bytes(2, "big") + rest


def _holds_transport_header(data: bytes, header: bytes) -> bool:
    """Whether the transport header follows: not so in fragments but the first."""
    if data[0] >> 4 == 4:
        return int.from_bytes(data[6:8], "big") & 0x1FFF == 0
    return len(header) < len(data) and data[6] != 44
