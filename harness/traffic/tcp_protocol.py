"""The rules of TCP for one connection: what is answered to a segment, what is sent when, what is sent again.

It does not fragment, scale windows, or control congestion: the link neither loses nor reorders, the guest may.
Sequence numbers are unbounded integers inside and are cut to 32 bits on the wire. What a scenario uses is in `tcp`.
"""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Callable
from enum import StrEnum

from harness.link.headers import ACK, FIN, PSH, RST, SYN, TCP, TcpSegment
from harness.traffic.address import Endpoint
from harness.traffic.assemble import tcp_body
from harness.traffic.tcp_buffers import Inbox, RoundTrip
from harness.traffic.timers import Timer, Timers
from harness.traffic.udp import Emit

MSS = 1460
MAX_RETRIES = 8
_MASK = 0xFFFFFFFF


class State(StrEnum):
    """Where a connection stands; what RFC 9293 splits further follows from `peer_closed` and `closing`."""

    SYN_SENT = "syn-sent"
    SYN_RECEIVED = "syn-received"
    ESTABLISHED = "established"
    CLOSED = "closed"


class TcpProtocol:
    """One connection. Its lock is never held while waiting for the link: emitting never blocks."""

    def __init__(
        self,
        emit: Emit,
        timers: Timers,
        local: Endpoint,
        remote: Endpoint,
        *,
        changed: Callable[[], None],
        echo: bool = False,
    ) -> None:
        self.local, self.remote, self.echo = local, remote, echo
        self.state = State.SYN_SENT
        self.error: str | None = None  # the reason of a TcpError
        self.established = False  # whether it ever was
        self.closing = False  # our FIN is sent or will be
        self.retransmitted = 0
        self._emit, self._timers, self._tell = emit, timers, changed
        self._changed = threading.Condition(threading.RLock())
        self._inbox, self._clock = Inbox(), RoundTrip()
        self._out, self._mss = bytearray(), 536  # what is not acknowledged, from _unacked on
        self._initial = secrets.randbits(32)
        self._unacked = self._next = self._initial
        self._peer_window, self._fin_at = 0, -1
        self._repeats, self._retries = 0, 0
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<TCP {self.local} - {self.remote} {self.error or self.state}>"

    @property
    def peer_closed(self) -> bool:
        """Whether its FIN has come."""
        return self._inbox.ended

    @property
    def duplicates(self) -> int:
        """Segments that brought nothing new."""
        return self._inbox.duplicates

    # What the station uses

    def open_actively(self) -> None:
        """Send the SYN."""
        with self._changed:
            self._next += 1
            self._send_syn()

    def open_passively(self, segment: TcpSegment) -> None:
        """Answer a SYN."""
        with self._changed:
            self.state = State.SYN_RECEIVED
            self._inbox.next = segment.seq + 1
            self._learn(segment)
            self._next += 1
            self._send_syn()

    def deliver(self, segment: TcpSegment) -> None:
        """Take a segment from the link."""
        with self._changed:
            if self.state is State.SYN_SENT:
                self._deliver_syn_sent(segment)
            elif self.state is State.CLOSED:
                if segment.flags & FIN and self.error is None:
                    self._acknowledge()  # our last ACK was lost
            else:
                self._deliver(segment)
            self._changed.notify_all()

    def path_is_narrower(self, mss: int, seq: int) -> None:
        """A router could not pass on the segment with this sequence number: it and what follows go in smaller ones."""
        with self._changed:
            at = self._unacked + _signed(seq - self._unacked)
            if self.state is not State.ESTABLISHED or not self._unacked <= at < self._next or mss >= self._mss:
                return
            self._mss = max(64, mss)
            self._retries = 1  # each answer brings out the next piece
            self._retransmit()
            self._arm()

    # Receiving

    def _deliver_syn_sent(self, segment: TcpSegment) -> None:
        if segment.flags & ACK and (segment.ack - self._next) & _MASK:
            if not segment.flags & RST:
                self._send_segment(segment.ack, RST)
            return
        if segment.flags & RST:
            if segment.flags & ACK:
                self._end("refused")
            return
        if not segment.flags & SYN:
            return
        self._inbox.next = segment.seq + 1
        self._learn(segment)
        if segment.flags & ACK:
            self._unacked = self._next
            self._clock.acknowledged(self._next)
            self._establish()
            self._acknowledge()
            self._transmit()
        else:  # both sides open at once
            self.state = State.SYN_RECEIVED
            self._send_syn()

    def _deliver(self, segment: TcpSegment) -> None:
        seq = self._inbox.next + _signed(segment.seq - self._inbox.next)
        if segment.flags & RST:
            if self._inbox.next <= seq <= self._inbox.next + self._inbox.window:
                self._end("refused" if self.state is State.SYN_RECEIVED else "reset")
            return
        if segment.flags & SYN:
            if self.state is State.SYN_RECEIVED:
                self._send_syn()
            else:
                self._acknowledge()
            return
        if segment.flags & ACK and not self._accept_ack(segment):
            return
        if self.state is State.SYN_RECEIVED:
            return
        length = len(segment.payload) + (segment.flags & FIN)
        if length:
            self._inbox.put(seq, segment.payload, fin=bool(segment.flags & FIN))
            self._acknowledge()
        elif seq < self._inbox.next:
            self._acknowledge()  # a keep-alive or window probe wants an answer
        if self.echo and self._inbox.unread and not self.closing:
            self._out += self._take(self._inbox.unread)
        if self.echo and self.peer_closed:
            self.closing = True
        self._transmit()
        if self.peer_closed and self._fin_at >= 0 and self._unacked > self._fin_at:
            self._end(None)

    def _accept_ack(self, segment: TcpSegment) -> bool:
        ack = self._unacked + _signed(segment.ack - self._unacked)
        if ack > self._next:
            if self.state is State.SYN_RECEIVED:
                self._send_segment(segment.ack, RST)
            else:
                self._acknowledge()
            return False
        if self.state is State.SYN_RECEIVED:
            if ack <= self._initial:
                return False
            self._establish()
        if ack >= self._unacked:
            was, self._peer_window = self._peer_window, segment.window
            if ack > self._unacked:
                self._advance(ack)
            elif ack < self._next and not segment.payload and was == segment.window and not segment.flags & FIN:
                self._repeats += 1
                if self._repeats == 3:
                    self._retransmit()
            if was == 0 and segment.window:
                self._arm()
        return True

    def _advance(self, ack: int) -> None:
        recovering = self._repeats >= 3 or self._retries > 0
        data_acked = ack - max(self._unacked, self._initial + 1)
        if 0 <= self._fin_at < ack:
            data_acked -= 1
        if data_acked > 0:
            del self._out[:data_acked]
        self._unacked, self._repeats, self._retries = ack, 0, 0
        self._clock.acknowledged(ack)
        if recovering and self._unacked < self._next:
            self._retransmit()  # the next hole
            self._retries = 1
        self._arm()

    def _take(self, count: int) -> bytes:
        before = self._inbox.window
        data = self._inbox.take(count)
        if before < MSS <= self._inbox.window and self.state is State.ESTABLISHED:
            self._acknowledge()  # the window has opened again
        return data

    # Sending

    def _transmit(self) -> None:
        if not self.established or self.state is State.CLOSED:
            return
        while True:
            sent = self._next - max(self._unacked, self._initial + 1)
            if self._fin_at >= 0:
                return
            waiting = len(self._out) - sent
            room = self._peer_window - (self._next - self._unacked)
            size = min(waiting, self._mss, room)
            if size > 0:
                self._clock.begin(self._next + size)
                flags = ACK | (PSH if size == waiting else 0)
                self._send_segment(self._next, flags, bytes(self._out[sent : sent + size]))
                self._next += size
                continue
            if self.closing and waiting == 0:
                self._fin_at = self._next
                self._send_segment(self._next, FIN | ACK)
                self._next += 1
            break
        if self._timer is None:
            self._arm()

    def _retransmit(self) -> None:
        self.retransmitted += 1
        self._clock.spoil()
        if self._unacked == self._initial:
            self._send_syn(again=True)
        elif self._unacked == self._fin_at:
            self._send_segment(self._unacked, FIN | ACK)
        else:
            end = self._fin_at if self._fin_at >= 0 else self._next
            size = min(self._mss, end - self._unacked)
            self._send_segment(self._unacked, ACK | PSH, bytes(self._out[:size]))

    def _send_syn(self, *, again: bool = False) -> None:
        if not again:
            self._clock.begin(self._initial + 1, anew=True)
            self._arm()
        flags = SYN if self.state is State.SYN_SENT else SYN | ACK
        self._send_segment(self._initial, flags, options=struct.pack(">BBH", 2, 4, MSS))

    def _acknowledge(self) -> None:
        self._send_segment(self._next, ACK)

    def _send_segment(self, seq: int, flags: int, payload: bytes = b"", options: bytes = b"") -> None:
        ports = (self.local.port, self.remote.port)
        ack = self._inbox.next if flags & ACK else 0
        source, destination = self.local.packed, self.remote.packed
        body = tcp_body(source, destination, ports, seq, ack, flags, self._inbox.window, payload, options)
        self._emit(source, destination, TCP, body)

    # Time and state

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        outstanding = self._next > self._unacked
        stalled = self.established and self._peer_window == 0 and len(self._out) > 0
        if (outstanding or stalled) and self.state is not State.CLOSED:
            self._timer = self._timers.after(self._clock.timeout, self._on_timer)

    def _on_timer(self) -> None:
        with self._changed:
            self._timer = None
            if self.state is State.CLOSED:
                return
            if self._next > self._unacked:
                self._retries += 1
                if self._retries > MAX_RETRIES:
                    self._end("timeout")
                    return
                self._clock.back_off()
                self._retransmit()
            elif self._out:  # the window is closed: probe it with a byte
                self._send_segment(self._next, ACK | PSH, bytes(self._out[:1]))
                self._next += 1
            self._arm()

    def _learn(self, segment: TcpSegment) -> None:
        self._peer_window = segment.window
        self._mss = min(MSS, _find_mss(segment.options) or 536)

    def _establish(self) -> None:
        self.state, self.established = State.ESTABLISHED, True
        self._retries = 0
        self._arm()
        self._tell()

    def _end(self, reason: str | None) -> None:
        if self.state is State.CLOSED:
            return
        self.state, self.error = State.CLOSED, reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._changed.notify_all()
        self._tell()


def _signed(difference: int) -> int:
    difference &= _MASK
    return difference - (1 << 32) if difference & 0x80000000 else difference


def _find_mss(options: bytes) -> int | None:
    position = 0
    while position < len(options) and options[position] != 0:
        if options[position] == 1:
            position += 1
            continue
        length = options[position + 1] if position + 1 < len(options) else 0
        if length < 2 or position + length > len(options):
            return None
        if options[position] == 2 and length == 4:
            return max(64, int.from_bytes(options[position + 2 : position + 4], "big"))
        position += length
    return None
