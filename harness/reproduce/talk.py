"""A TCP connection of a capture as moves of its two sides, counted from their first sequence numbers.

What the capture lacks and the connection cannot do without is made up, and said: the handshake of a connection that
began before the capture, and bytes that one side acknowledged though no packet has them (a capture that lost packets,
cut them, or saw one side only). They are zeros.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from harness.capture import Conversation, Packet
from harness.link.headers import ACK, FIN, PSH, RST, SYN, TcpSegment
from harness.reproduce.departures import Departures
from harness.reproduce.rewriting import checksum_error

_FILL_MOST = 1 << 20  # bytes that one acknowledgement may make up
_HALF = 1 << 31
_END, _NOTHING, _MSS, _SCALE = 0, 1, 2, 3
_OPENING_OPTIONS = bytes((_MSS, 4)) + (1460).to_bytes(2, "big")
_FREE_WINDOW = 65535
_LAST_SERVER_PORT = 49151


@dataclass(frozen=True, slots=True)
class Move:
    """One segment: `seq` and `ack` count from the sender's and the other side's SYN, which is 0; `window` in bytes.

    `number` and `time` are those of the packet; of one that was `made_up`, those of the packet that showed the need.
    `squeezed` tells of data that went beyond the other side's window.
    """

    number: int
    time: int
    by_guest: bool
    flags: int
    seq: int
    ack: int | None
    window: int
    payload: bytes = b""
    options: bytes = b""
    urgent: int = 0
    made_up: bool = False
    squeezed: bool = False
    checksum_error: int = 0
    packet: Packet | None = None

    @property
    def end(self) -> int:
        """What the sender's next byte counts."""
        return self.seq + len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)


@dataclass(slots=True)
class TcpTalk:
    """A connection: its moves in order, who opened it, and all that the guest's application sends."""

    opened_by_guest: bool
    peer_initial: int
    guest_initial: int
    moves: list[Move]
    guest_stream: bytes
    peer_stream: bytes
    scales: tuple[int | None, int | None]  # window scale of peer and guest, as their SYNs had it
    is_whole: bool  # its handshake is in the capture
    guest_segment: int = 0  # the guest's longest, in bytes of payload

    def __post_init__(self) -> None:
        sizes = [len(move.payload) for move in self.moves if move.by_guest and not move.made_up]
        self.guest_segment = max(sizes, default=0)


@dataclass(slots=True)
class _Side:
    """What is known of one side's numbers."""

    initial: int | None = None
    has_syn: bool = False
    scale: int | None = None
    covered: list[tuple[int, int]] = field(default_factory=list)  # offsets that packets have, merged
    reached: int = 1  # in the order of the capture
    fin_at: int | None = None
    acked: int = 0  # by the other side, as far as the capture has been read
    last_ack: int = 0  # the greatest number by which the other side acknowledged
    window: int | None = None


def talk_of(conversation: Conversation, guest: frozenset[bytes], departures: Departures) -> TcpTalk | None:
    """The moves of a TCP conversation; None when no packet in it has a whole TCP header."""
    segments = []
    for packet in conversation.packets:
        tcp, ip = packet.tcp, packet.ip
        if tcp is None or ip is None:
            departures.tell("It is left out, as it has no whole TCP header.", packet.number)
            continue
        segments.append((packet, ip.source in guest, _filled(packet, tcp, departures)))
    if not segments:
        return None
    return _Reading(conversation, departures, segments).talk()


def _filled(packet: Packet, tcp: TcpSegment, departures: Departures) -> TcpSegment:
    """The segment with zeros for what the capture cut off."""
    missing = packet.length - len(packet.data)
    if missing > 0:
        tcp.payload += bytes(missing)
        departures.tell("The bytes that the capture cut off are zeros.", packet.number)
    return tcp


class _Reading:
    """A conversation while its moves are made; sides are indexed by whether they are the guest's."""

    def __init__(
        self, conversation: Conversation, departures: Departures, segments: list[tuple[Packet, bool, TcpSegment]]
    ) -> None:
        self._conversation, self._departures, self._segments = conversation, departures, segments
        self._sides = {False: _Side(), True: _Side()}
        self._moves: list[Move] = []
        self._find_initials()
        self._find_cover()

    def talk(self) -> TcpTalk:
        guest_opens, is_whole = self._opener()
        self._guest_opens = guest_opens
        if not is_whole:
            self._departures.tell(
                "The connection began before the capture does: it is opened with a handshake of its own.",
                self._segments[0][0].number,
            )
        needs_answer = not is_whole or self._has_conversed()
        opened = {False: False, True: False}
        for packet, by_guest, tcp in self._segments:
            syn = bool(tcp.flags & SYN)
            if not syn and needs_answer and not all(opened.values()):
                self._open(packet, opened)
            if syn and by_guest != guest_opens and not opened[guest_opens]:
                self._make_up(packet, guest_opens, SYN, 0)
                opened[guest_opens] = True
            opened[by_guest] = opened[by_guest] or syn
            self._take(packet, by_guest, tcp)
        peer, guest = self._sides[False], self._sides[True]
        return TcpTalk(
            guest_opens, peer.initial or 0, guest.initial or 0, self._moves, self._stream(True), self._stream(False),
            (peer.scale, guest.scale), is_whole,
        )  # fmt: skip

    def _find_initials(self) -> None:
        """Each side's initial number: of its SYN, else as its first segment or the other's first answer tell."""
        for _, by_guest, tcp in self._segments:
            side = self._sides[by_guest]
            if tcp.flags & SYN and not side.has_syn:
                side.initial, side.has_syn, side.scale = tcp.seq, True, _scale_in(tcp.options)
        for _, by_guest, tcp in self._segments:
            side, other = self._sides[by_guest], self._sides[not by_guest]
            if side.initial is None and not (tcp.flags & RST and not tcp.flags & ACK):
                side.initial = (tcp.seq - 1) & 0xFFFFFFFF
            if other.initial is None and tcp.flags & ACK:
                others = [each.seq for _, sender, each in self._segments if sender != by_guest]
                first = min(others, key=lambda seq: _signed(seq - tcp.ack), default=tcp.ack)
                lower = first if _signed(first - tcp.ack) < 0 else tcp.ack
                other.initial = (lower - 1) & 0xFFFFFFFF
        for side in self._sides.values():
            side.initial = side.initial or 0

    def _offset(self, by_guest: bool, seq: int, near: int) -> int:
        """A 32-bit number of a side as the offset that lies next to one that is known."""
        raw = (seq - (self._sides[by_guest].initial or 0)) & 0xFFFFFFFF
        return near + _signed(raw - near)

    def _find_cover(self) -> None:
        for by_guest, side in self._sides.items():
            near, spans = 0, []
            for _, sender, tcp in self._segments:
                if sender != by_guest or tcp.flags & RST:
                    continue
                at = self._offset(by_guest, tcp.seq, near) + bool(tcp.flags & SYN)
                near = max(near, at + len(tcp.payload))
                if tcp.payload and at >= 1:
                    spans.append((at, at + len(tcp.payload)))
                if tcp.flags & FIN:
                    side.fin_at = at + len(tcp.payload)
            side.covered = _merged(spans)
            near = 1
            for _, sender, tcp in self._segments:
                if sender != by_guest and tcp.flags & (ACK | RST) == ACK:
                    near = max(near, self._offset(by_guest, tcp.ack, near))
            side.last_ack = near

    def _opener(self) -> tuple[bool, bool]:
        """Whether the guest opened it, and whether the capture has the handshake's begin."""
        for _, by_guest, tcp in self._segments:
            if tcp.flags & (SYN | ACK) == SYN:
                return by_guest, True
        for _, by_guest, tcp in self._segments:
            if tcp.flags & SYN:
                return not by_guest, False
        # The server's port is the lower one, where one of them can be no client's.
        _, by_guest, tcp = self._segments[0]
        guest_port, peer_port = (
            (tcp.source_port, tcp.destination_port) if by_guest else (tcp.destination_port, tcp.source_port)
        )
        return not (guest_port < peer_port and guest_port <= _LAST_SERVER_PORT), False

    def _has_conversed(self) -> bool:
        """Whether the handshake must have come to its end: somebody sent data, or an ACK behind it."""
        answered = self._sides[not self._guest_opens].has_syn
        return any(
            tcp.payload or (tcp.flags & (ACK | RST | SYN) == ACK and (answered or by_guest == self._guest_opens))
            for _, by_guest, tcp in self._segments
        )

    def _open(self, packet: Packet, opened: dict[bool, bool]) -> None:
        """Make up what is missing of the handshake."""
        guest_opens = self._guest_opens
        if not opened[guest_opens]:
            self._make_up(packet, guest_opens, SYN, 0)
        if not opened[not guest_opens]:
            self._make_up(packet, not guest_opens, SYN | ACK, 0)
            self._make_up(packet, guest_opens, ACK, 1)
        opened[True] = opened[False] = True

    def _make_up(self, packet: Packet, by_guest: bool, flags: int, seq: int, payload: bytes = b"") -> None:
        other = self._sides[not by_guest]
        ack = max(other.reached, 1) if flags & ACK else None
        options = _OPENING_OPTIONS if flags & SYN else b""
        move = Move(packet.number, packet.time, by_guest, flags, seq, ack, _FREE_WINDOW, payload, options, made_up=True)
        side = self._sides[by_guest]
        side.reached = max(side.reached, move.end)
        self._moves.append(move)

    def _take(self, packet: Packet, by_guest: bool, tcp: TcpSegment) -> None:
        side, other = self._sides[by_guest], self._sides[not by_guest]
        seq = self._offset(by_guest, tcp.seq, side.reached)
        ack = self._offset(not by_guest, tcp.ack, other.reached) if tcp.flags & ACK else None
        if ack is not None and not tcp.flags & RST:
            self._fill(packet, not by_guest, ack)
            other.acked = max(other.acked, min(ack, other.reached))
        scaled = side.scale is not None and other.scale is not None and not tcp.flags & SYN
        known = self._sides[False].has_syn and self._sides[True].has_syn
        window = tcp.window << (side.scale or 0) if scaled else tcp.window
        if not known and not tcp.flags & (SYN | RST) and tcp.window:
            window = _FREE_WINDOW  # its scale was agreed before the capture began
        if not tcp.flags & RST:
            side.window = window if known else None
        body_error = 0
        ip = packet.ip
        if not by_guest and ip is not None:
            body_error = checksum_error(packet, ip.body)
        end = seq + len(tcp.payload)
        squeezed = bool(tcp.payload) and other.window is not None and end > side.acked + other.window
        self._moves.append(
            Move(
                packet.number, packet.time, by_guest, tcp.flags, seq, ack, window, tcp.payload, tcp.options,
                _urgent(ip.body if ip is not None else b""),
                squeezed=squeezed, checksum_error=body_error, packet=packet,
            )
        )  # fmt: skip
        if not tcp.flags & RST:
            side.reached = max(side.reached, self._moves[-1].end)

    def _fill(self, packet: Packet, by_guest: bool, ack: int) -> None:
        """Make up what a side must have sent, as the other one acknowledged it, and no packet has."""
        side = self._sides[by_guest]
        if ack <= side.reached:
            return
        other = self._sides[not by_guest]
        last = max((end for _, end in side.covered), default=1)
        at = max(side.reached, 1)
        if side.fin_at is None and ack == at + 1 == side.last_ack and (at == last if side.covered else other.fin_at):
            self._departures.tell("The capture lacks a FIN that was acknowledged: it is made up.", packet.number)
            self._make_up(packet, by_guest, FIN | ACK, at)
            side.fin_at = at
            return
        end = min(ack, side.fin_at) if side.fin_at is not None else ack
        for start, stop in _gaps(side.covered, at, end):
            if stop - start > _FILL_MOST:
                self._departures.tell(
                    f"It acknowledges more than {_FILL_MOST} bytes that the capture lacks: they are not made up.",
                    packet.number,
                )
                return
            whose = "guest" if by_guest else "other side"
            self._departures.tell(
                f"The capture lacks bytes of the {whose} that were acknowledged: they are zeros.", packet.number
            )
            self._make_up(packet, by_guest, ACK | PSH, start, bytes(stop - start))

    def _stream(self, of_guest: bool) -> bytes:
        """All that one side sends, as the capture has it; of what was sent twice the first counts."""
        stream = bytearray()
        spans: list[tuple[int, int]] = []
        for move in self._moves:
            at = move.seq - 1 + bool(move.flags & SYN)
            if move.by_guest != of_guest or not move.payload or at < 0 or at > len(stream) + _FILL_MOST:
                continue
            end = at + len(move.payload)
            stream += bytes(max(0, end - len(stream)))
            for start, stop in _gaps(_merged(spans), at, end):
                stream[start:stop] = move.payload[start - at : stop - at]
            spans = _merged([*spans, (at, end)])
        return bytes(stream)


def _signed(difference: int) -> int:
    """A difference of 32-bit numbers as the nearer of the two ways round."""
    return ((difference + _HALF) & 0xFFFFFFFF) - _HALF


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _gaps(covered: list[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    """What of a span is not covered."""
    gaps = []
    for begin, end in covered[max(0, bisect_right(covered, (start, 1 << 62)) - 1) :]:
        if begin >= stop:
            break
        if start < begin:
            gaps.append((start, begin))
        start = max(start, end)
    if start < stop:
        gaps.append((start, stop))
    return gaps


def _urgent(body: bytes) -> int:
    return int.from_bytes(body[18:20], "big") if len(body) >= 20 else 0


def options_in(options: bytes) -> list[tuple[int, bytes]]:
    """Kind and value of each TCP option; what is broken ends them."""
    found, at = [], 0
    while at < len(options) and options[at] != _END:
        if options[at] == _NOTHING:
            found.append((_NOTHING, b""))
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            break
        found.append((options[at], options[at + 2 : at + length]))
        at += length
    return found


def _scale_in(options: bytes) -> int | None:
    for kind, value in options_in(options):
        if kind == _SCALE and len(value) == 1:
            return min(value[0], 14)
    return None
