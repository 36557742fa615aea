"""Smaller packets: fewer bytes, plainer ones, no time between them; lengths and checksums put right.

A TCP conversation is made smaller as a whole: its sequence space is cut at every number that a segment begins or ends
with, or acknowledges, and each piece in between shrinks. What overlapped overlaps still, and a gap stays a gap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from harness.capture import Capture, Conversation, Packet
from harness.link.checksum import internet_checksum, pseudo_header
from harness.link.headers import ACK, FIN, ICMP, ICMPV6, SYN, TCP, UDP, TcpSegment

_PLAIN = b"a"
_SEQUENCES = 1 << 32
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
_END_OF_OPTIONS, _NO_OPERATION, _SACK = 0, 1, 5

Change = Callable[[Conversation], Iterable[Packet]]


def changed(capture: Capture, conversations: Iterable[Conversation], change: Change) -> Capture:
    """The capture with the packets of these conversations as `change` gives them back."""
    new = {packet.number: packet for conversation in conversations for packet in change(conversation)}
    return replace(capture, packets=tuple(new.get(packet.number, packet) for packet in capture.packets))


def plain(conversation: Conversation) -> Iterable[Packet]:
    """The same lengths, every byte of payload an 'a'."""
    for packet in conversation.packets:
        body = _body(packet)
        if body is None:
            continue
        head = _head(conversation.protocol, body)
        if head is not None:
            yield with_body(packet, body[:head] + _PLAIN * (len(body) - head))


def shortened(most: int) -> Change:
    """Payloads of at most so many bytes: of a datagram itself, of TCP each piece of the sequence space."""

    def change(conversation: Conversation) -> Iterable[Packet]:
        if conversation.protocol == TCP:
            return _squeeze(conversation, most)
        return _cut(conversation, most)

    return change


def without_pauses(capture: Capture, kept: Collection[int]) -> Capture:
    """The capture with no time before its packets but before those of the numbers `kept`."""
    time = capture.packets[0].time if capture.packets else 0
    packets: list[Packet] = []
    for before, packet in zip((None, *capture.packets), capture.packets, strict=False):
        if before is not None and packet.number in kept:
            time += packet.time - before.time
        packets.append(replace(packet, time=time))
    return replace(capture, packets=tuple(packets))


def pauses(capture: Capture) -> tuple[int, ...]:
    """Numbers of the packets with time before them."""
    both = zip(capture.packets, capture.packets[1:], strict=False)
    return tuple(after.number for before, after in both if after.time != before.time)


def with_body(packet: Packet, body: bytes) -> Packet:
    """The packet with another transport header and payload; its lengths and checksums are right again."""
    ip = packet.ip
    assert ip is not None
    head = bytearray(packet.data[: len(packet.data) - len(ip.body)])
    new = bytearray(body)
    if ip.protocol == UDP:
        new[4:6] = len(new).to_bytes(2, "big")
    at = _CHECKSUM_AT[ip.protocol]
    new[at : at + 2] = b"\0\0"
    summed = bytes(new)
    if ip.protocol != ICMP:
        summed = pseudo_header(ip.source, ip.destination, ip.protocol, len(new)) + summed
    checksum = internet_checksum(summed)
    if ip.protocol == UDP:
        checksum = checksum or 0xFFFF
    new[at : at + 2] = checksum.to_bytes(2, "big")
    if head[0] >> 4 == 4:
        head[2:4] = (len(head) + len(new)).to_bytes(2, "big")
        head[10:12] = b"\0\0"
        head[10:12] = internet_checksum(bytes(head)).to_bytes(2, "big")
    else:
        head[4:6] = (len(head) - 40 + len(new)).to_bytes(2, "big")
    return replace(packet, data=bytes(head + new), length=len(head) + len(new))


def _body(packet: Packet) -> bytes | None:
    """Transport header and payload where they may be changed: not of a fragment, nor of a packet that was cut."""
    ip = packet.ip
    if ip is None or ip.fragment or packet.is_cut or ip.protocol not in _CHECKSUM_AT:
        return None
    return ip.body if packet.data.endswith(ip.body) else None


def _head(protocol: int, body: bytes) -> int | None:
    """Where the payload begins; None where the header is not whole."""
    size = (body[12] >> 4) * 4 if protocol == TCP and len(body) >= 20 else 8
    return size if protocol in _CHECKSUM_AT and size <= len(body) else None


def _cut(conversation: Conversation, most: int) -> Iterable[Packet]:
    for packet in conversation.packets:
        body = _body(packet)
        head = _head(conversation.protocol, body) if body is not None else None
        if body is not None and head is not None and len(body) > head + most:
            yield with_body(packet, body[: head + most])


def _squeeze(conversation: Conversation, most: int) -> Iterable[Packet]:
    read = [(packet, packet.tcp) for packet in conversation.packets]
    if any(segment is None or _body(packet) is None for packet, segment in read):
        return  # of a conversation that is not whole the numbers would no longer fit together
    segments = [(packet, segment) for packet, segment in read if segment is not None]
    sides: dict[bool, _Space] = {True: _Space(most), False: _Space(most)}
    first = _sender(segments[0][0])
    for packet, segment in segments:
        mine = _sender(packet) == first
        sides[mine].add(segment.seq, *_edges(segment))
        if segment.flags & ACK:
            sides[not mine].add(segment.ack)
    for packet, segment in segments:
        mine = _sender(packet) == first
        yield _moved(packet, segment, sides[mine], sides[not mine])


def _sender(packet: Packet) -> tuple[bytes, int]:
    ip = packet.ip
    assert ip is not None
    return ip.source, ip.ports[0]


def _edges(segment: TcpSegment) -> tuple[int, ...]:
    """Where its payload begins and ends, and where its FIN does."""
    begin = segment.seq + bool(segment.flags & SYN)
    end = begin + len(segment.payload)
    return begin, end, end + bool(segment.flags & FIN)


def _moved(packet: Packet, segment: TcpSegment, own: _Space, other: _Space) -> Packet:
    body = bytearray(_body(packet) or b"")
    head = (body[12] >> 4) * 4
    begin = _edges(segment)[0]
    body[4:8] = own.moved(segment.seq).to_bytes(4, "big")
    if segment.flags & ACK:
        body[8:12] = other.moved(segment.ack).to_bytes(4, "big")
    body[20:head] = _without_sack(segment.options)
    return with_body(packet, bytes(body[:head]) + own.kept(begin, segment.payload))


class _Space:
    """One direction's sequence numbers, and where they come to lie once no piece is longer than `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._base: int | None = None
        self._points: set[int] = set()
        self._old: list[int] = []
        self._new: list[int] = []

    def add(self, *numbers: int) -> None:
        """These numbers begin or end something."""
        if self._base is None:
            self._base = numbers[0]
        self._points.update(map(self._relative, numbers))

    def moved(self, number: int) -> int:
        """Where a number comes to lie."""
        return (self._place(self._relative(number)) + (self._base or 0)) % _SEQUENCES

    def kept(self, begin: int, payload: bytes) -> bytes:
        """What is left of a payload that begins at this number."""
        start = self._relative(begin)
        self._place(start)
        low, high = bisect_left(self._old, start), bisect_left(self._old, start + len(payload))
        pieces = zip(self._old[low:high], self._old[low + 1 : high + 1], strict=True)
        return b"".join(payload[a - start : min(b, a + self._most) - start] for a, b in pieces)

    def _relative(self, number: int) -> int:
        distance = (number - (self._base or 0)) % _SEQUENCES
        return distance - _SEQUENCES if distance >= _SEQUENCES // 2 else distance

    def _place(self, point: int) -> int:
        if not self._old:
            self._old = sorted(self._points)
            self._new = [self._old[0]]
            for before, after in zip(self._old, self._old[1:], strict=False):
                self._new.append(self._new[-1] + min(after - before, self._most))
        return self._new[bisect_left(self._old, point)]


def _without_sack(options: bytes) -> bytes:
    """The options, those of selective acknowledgement turned to no-operations: their numbers would be wrong."""
    rest, at = bytearray(options), 0
    while at < len(rest) and rest[at] != _END_OF_OPTIONS:
        size = 1 if rest[at] == _NO_OPERATION else rest[at + 1] if at + 1 < len(rest) else 0
        if size == 0 or at + size > len(rest) or (rest[at] != _NO_OPERATION and size < 2):
            break
        if rest[at] == _SACK:
            rest[at : at + size] = bytes([_NO_OPERATION]) * size
        at += size
    return bytes(rest)
