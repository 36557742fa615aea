"""Two parts of a TCP connection that need nothing of the rest: what has come, and how long a round trip takes."""

from __future__ import annotations

import time

WINDOW = 65535
# RFC 6298 with a lower floor; a guest under emulation answers within some milliseconds, or it is very busy.
_FIRST_RTO, _MIN_RTO, _MAX_RTO = 1.0, 0.2, 8.0


class Inbox:
    """Bytes that have come, in order up to `next`, and pieces from behind a hole."""

    def __init__(self) -> None:
        self.next = 0  # the sequence number that is waited for
        self.data = bytearray()  # everything that came in order, read or not
        self.read = 0
        self.ended = False  # the peer's FIN has come, and all before it
        self.duplicates = 0
        self._ahead: dict[int, bytes] = {}
        self._fin_at: int | None = None

    @property
    def unread(self) -> int:
        """Bytes that nobody took yet."""
        return len(self.data) - self.read

    @property
    def window(self) -> int:
        """How many more bytes may come."""
        return max(0, WINDOW - self.unread)

    def put(self, seq: int, payload: bytes, *, fin: bool) -> None:
        """Take a segment, whatever part of the stream it holds."""
        end = seq + len(payload)
        if end <= self.next and not (fin and end == self.next):
            self.duplicates += 1
            return
        if seq > self.next + self.window:
            return
        if fin:
            self._fin_at = end
        if payload and len(self._ahead.get(seq, b"")) >= len(payload):
            self.duplicates += 1
        elif payload:
            self._ahead[seq] = payload
        self._join()

    def take(self, count: int) -> bytes:
        """Read up to `count` bytes."""
        data = bytes(self.data[self.read : self.read + count])
        self.read += len(data)
        return data

    def _join(self) -> None:
        for seq in sorted(self._ahead):
            if seq > self.next:
                break
            fresh = self._ahead.pop(seq)[self.next - seq :][: self.window]
            self.data += fresh
            self.next += len(fresh)
        if self._fin_at == self.next and not self.ended:
            self.next += 1
            self.ended = True
            self._ahead.clear()


class RoundTrip:
    """How long to wait for an acknowledgement, learned from those that came."""

    def __init__(self) -> None:
        self.timeout = _FIRST_RTO
        self._smoothed, self._variance = 0.0, 0.0
        self._timed: tuple[int, float] | None = None

    def begin(self, acknowledged_by: int, *, anew: bool = False) -> None:
        """Time the bytes before this sequence number, unless others are being timed."""
        if anew or self._timed is None:
            self._timed = (acknowledged_by, time.monotonic())

    def spoil(self) -> None:
        """What was sent twice cannot be timed (Karn)."""
        self._timed = None

    def back_off(self) -> None:
        """Nothing came: wait longer the next time."""
        self.timeout = min(self.timeout * 2, _MAX_RTO)

    def acknowledged(self, ack: int) -> None:
        """Learn from an acknowledgement, where it covers what was timed."""
        if self._timed is None or ack < self._timed[0]:
            return
        sample = time.monotonic() - self._timed[1]
        self._timed = None
        if self._smoothed == 0.0:
            self._smoothed, self._variance = sample, sample / 2
        else:
            self._variance += (abs(self._smoothed - sample) - self._variance) / 4
            self._smoothed += (sample - self._smoothed) / 8
        self.timeout = min(max(self._smoothed + 4 * self._variance, _MIN_RTO), _MAX_RTO)
