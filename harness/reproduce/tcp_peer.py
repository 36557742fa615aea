"""The other side of a TCP connection in a replay: segments of the capture with the numbers of the live connection.

The peer's own sequence numbers are those of the capture; only the guest's first number is known when it is seen. What
is counted here counts from the SYN of its side, as `Move` does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from harness.link.headers import ACK, FIN, PSH, RST, SYN, TcpSegment
from harness.reproduce.rewriting import header_of, segment, with_header
from harness.reproduce.talk import Move, TcpTalk, options_in

_MSS, _SCALE, _SACK_PERMITTED, _SACK, _TIMESTAMPS, _NOTHING = 2, 3, 4, 5, 8, 1
_IPV4 = bytes((0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6)) + bytes(10)
_IPV6 = bytes((0x60, 0, 0, 0, 0, 0, 6, 64)) + bytes(32)
_LEAST_MSS = 88
_MOST_APART = 256


@dataclass(slots=True, eq=False)
class TcpPeer:
    """One connection's live state, as the other side has it."""

    talk: TcpTalk
    guest: tuple[bytes, int]
    peer: tuple[bytes, int]
    mtu: int = 1500
    guest_initial: int | None = None
    guest_next: int = 0  # what the guest sent without a gap
    guest_acked: int = 0  # of ours, by the guest
    guest_window: int = 65535
    guest_fin: bool = False
    guest_reset: bool = False
    mismatch: int | None = None  # where in its stream the guest first sent other bytes than the capture has
    unacked: deque[tuple[int, list[bytes]]] = field(default_factory=deque)
    acked_guest: int = 0  # the last number that was sent to it
    extra_acks: int = 0
    _sent: int = 0
    _captured_ack: int = 0
    _own_stamp: bytes | None = None  # the last that the capture had for this side
    _fin_end: int | None = None
    _window: int = 65535
    _guest_scale: int | None = None
    _guest_mss: int = 536
    _guest_sack: bool = False
    _guest_stamps: bool = False
    _stamp: bytes = bytes(4)
    _apart: dict[int, int] = field(default_factory=dict)  # spans of the guest's that came early

    def take(self, tcp: TcpSegment) -> None:
        """A segment of the guest's."""
        if tcp.flags & SYN and self.guest_initial is None:
            self.guest_initial, self.guest_next = tcp.seq, 1
            self._read_options(tcp.options)
        if tcp.flags & RST:
            self.guest_reset = True
            return
        if self.guest_initial is None:
            return
        if tcp.flags & ACK:
            acked = (tcp.ack - self.talk.peer_initial) & 0xFFFFFFFF
            if acked < 1 << 31:
                self.guest_acked = max(self.guest_acked, self._near(acked, self.guest_acked))
            while self.unacked and self.unacked[0][0] <= self.guest_acked:
                self.unacked.popleft()
            scale = 0 if tcp.flags & SYN else self._live_scale(self._guest_scale)
            self.guest_window = tcp.window << scale
        for kind, value in options_in(tcp.options) if self._guest_stamps else ():
            if kind == _TIMESTAMPS and len(value) == 8:
                self._stamp = value[:4]
        start = self._near((tcp.seq - self.guest_initial) & 0xFFFFFFFF, self.guest_next) + bool(tcp.flags & SYN)
        self._compare(start, tcp.payload)
        self._advance(start, start + len(tcp.payload), bool(tcp.flags & FIN))

    def fits(self, move: Move) -> bool:
        """Whether the guest's window has room for a move's data, or had none in the capture either."""
        return not move.payload or move.squeezed or move.end <= self.guest_acked + max(self.guest_window, 1)

    def is_reached(self, move: Move) -> bool:
        """Whether the guest has done what this move of its side is."""
        if move.flags & RST:
            return self.guest_reset
        if move.flags & SYN:
            return self.guest_initial is not None
        end = min(move.seq + len(move.payload), len(self.talk.guest_stream) + 1)
        return self.guest_next >= end and (self.guest_fin or not move.flags & FIN)

    def segments(self, move: Move) -> list[bytes]:
        """The IP packets of a move of this side: more than one where its data are more than the guest takes at once.

        None where it acknowledges what has been acknowledged already: a duplicate that the capture has not.
        """
        room = max(self._guest_mss if self.guest_initial is not None else 1 << 16, _LEAST_MSS)
        header = self._header(move)
        options = self._options(move)
        room = min(room, self.mtu - len(header) - 20 - len(options) - -len(options) % 4)
        if self._is_stale(move):
            return []
        pieces = [move.payload[at : at + room] for at in range(0, len(move.payload), room)] or [b""]
        packets, seq = [], move.seq
        for index, piece in enumerate(pieces):
            flags = move.flags
            if index < len(pieces) - 1:
                flags &= ~(FIN | PSH)
            packets.append(self._packet(header, move, flags, seq, piece, options))
            seq += len(piece) + bool(flags & SYN)
        if move.end > self._sent:
            self._sent = move.end
            if not move.flags & RST:
                self.unacked.append((move.end, packets))
        return packets

    def acknowledgement(self) -> bytes:
        """An acknowledgement that the capture has not: the guest waits for one."""
        self.extra_acks += 1
        move = Move(0, 0, False, ACK, max(self._sent, 1), self.guest_next, max(self._window, 1 << 14), made_up=True)
        return self._packet(self._header(move), move, ACK, move.seq, b"", self._stamp_option())

    def reset(self) -> bytes:
        """What ends the connection when the replay gives it up."""
        move = Move(0, 0, False, RST | ACK, max(self._sent, 1), self.guest_next, 0, made_up=True)
        return self._packet(self._header(move), move, RST | ACK, move.seq, b"", b"")

    def _is_stale(self, move: Move) -> bool:
        pure = move.flags & (SYN | FIN | RST | ACK) == ACK and not move.payload and not move.made_up
        had_news, self._captured_ack = (move.ack or 0) > self._captured_ack, max(move.ack or 0, self._captured_ack)
        ack = self._live_ack(move)
        return pure and self.extra_acks > 0 and (ack < self.acked_guest or (had_news and ack == self.acked_guest))

    def _live_ack(self, move: Move) -> int:
        """What is acknowledged: as in the capture, but nothing that the guest has not sent yet."""
        ack = move.ack or 0
        beyond = ack > len(self.talk.guest_stream) + 2
        return ack if beyond else min(ack, self.guest_next)

    def _packet(self, header: bytes, move: Move, flags: int, seq: int, payload: bytes, options: bytes) -> bytes:
        ack = 0
        if move.flags & ACK:
            live = self._live_ack(move)
            ack = (self.guest_initial or 0) + live
            self.acked_guest = max(self.acked_guest, live)
        scale = 0 if flags & SYN else self._live_scale(self.talk.scales[0])
        if not move.flags & RST:
            self._window = move.window
        window = min(-(-move.window >> scale) if move.window else 0, 65535)
        head = (self.peer[1], self.guest[1], self.talk.peer_initial + seq, ack, flags, window, move.urgent)
        body = segment((self.peer[0], self.guest[0]), head, options, payload, error=move.checksum_error)
        return with_header(header, self.peer[0], self.guest[0], body)

    def _header(self, move: Move) -> bytes:
        if move.packet is not None:
            return header_of(move.packet.data)
        return _IPV4 if len(self.peer[0]) == 4 else _IPV6

    def _live_scale(self, scale: int | None) -> int:
        """A window scale as it is agreed upon here: both sides have to offer one."""
        return scale if scale is not None and self._guest_scale is not None and self.talk.scales[0] is not None else 0

    def _read_options(self, options: bytes) -> None:
        for kind, value in options_in(options):
            if kind == _MSS and len(value) == 2:
                self._guest_mss = int.from_bytes(value, "big")
            elif kind == _SCALE and len(value) == 1:
                self._guest_scale = min(value[0], 14)
            elif kind == _SACK_PERMITTED:
                self._guest_sack = True
            elif kind == _TIMESTAMPS and len(value) == 8:
                self._guest_stamps, self._stamp = True, value[:4]

    def _options(self, move: Move) -> bytes:
        """The move's options, as far as this connection has agreed upon them, with its numbers."""
        answer = bool(move.flags & SYN and move.flags & ACK)
        made = bytearray()
        for kind, value in options_in(move.options):
            if kind == _NOTHING:
                made.append(_NOTHING)
                continue
            if kind == _TIMESTAMPS and len(value) == 8:
                self._own_stamp = value[:4]
                value = value[:4] + (self._stamp if move.flags & ACK else bytes(4))  # noqa: PLW2901
            if kind == _SACK:
                value = self._selective(value)  # noqa: PLW2901
            refused = (
                (kind == _TIMESTAMPS and not self._guest_stamps and (answer or not move.flags & SYN))
                or (kind == _SCALE and answer and self._guest_scale is None)
                or (kind == _SACK_PERMITTED and answer and not self._guest_sack)
                or (kind == _SACK and (not self._guest_sack or not value))
            )
            made += bytes((_NOTHING,)) * (len(value) + 2) if refused else bytes((kind, len(value) + 2)) + value
        return bytes(made)

    def _stamp_option(self) -> bytes:
        """Timestamps for a segment that the capture has not; without them RFC 7323 has the guest drop it."""
        if self._own_stamp is None or not self._guest_stamps:
            return b""
        return bytes((_NOTHING, _NOTHING, _TIMESTAMPS, 10)) + self._own_stamp + self._stamp

    def _selective(self, value: bytes) -> bytes:
        """SACK blocks for the guest's live numbers; the capture's first number of the guest is that of its stream."""
        initial = self.talk.guest_initial
        if self.guest_initial is None or initial is None:
            return b""
        shift = self.guest_initial - initial
        edges = [(int.from_bytes(value[at : at + 4], "big") + shift) & 0xFFFFFFFF for at in range(0, len(value) - 3, 4)]
        return b"".join(edge.to_bytes(4, "big") for edge in edges)

    def _near(self, raw: int, near: int) -> int:
        return near + ((raw - near + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)

    def _compare(self, start: int, payload: bytes) -> None:
        wanted = self.talk.guest_stream[max(start, 1) - 1 : max(start, 1) - 1 + len(payload)]
        if payload and self.mismatch is None and start >= 1 and wanted != payload:
            pairs = enumerate(zip(wanted, payload, strict=False))
            same = next((at for at, (want, seen) in pairs if want != seen), len(wanted))
            self.mismatch = start - 1 + same

    def _advance(self, start: int, stop: int, fin: bool) -> None:
        if fin:
            stop = self._fin_end = stop + 1
        if stop > start and (start in self._apart or len(self._apart) < _MOST_APART):
            self._apart[start] = max(self._apart.get(start, 0), stop)
        for begin in sorted(self._apart):
            if begin > self.guest_next:
                break
            self.guest_next = max(self.guest_next, self._apart.pop(begin))
        self.guest_fin = self._fin_end is not None and self.guest_next >= self._fin_end
