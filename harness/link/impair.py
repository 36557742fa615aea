"""A wire that loses, repeats and reorders TCP segments: by a seed, so that the same thing happens again."""

from __future__ import annotations

import random
from collections.abc import Iterator

from harness.link.headers import RST, SYN, TCP, parse_ip, parse_tcp


class TcpImpairment:
    """What becomes of frames that go one way; use one for each direction.

    The numbers are probabilities of each segment. Only TCP is impaired, and of it neither SYN nor RST: a fence stays
    one, and no connection waits for the long timer of its handshake. A segment that is swapped goes behind the next
    frame.
    """

    def __init__(self, seed: int, *, lose: float = 0.0, repeat: float = 0.0, swap: float = 0.0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be foreseen
        self._lose, self._repeat, self._swap = lose, repeat, swap
        self._held: bytes | None = None
        self.lost = self.repeated = self.swapped = 0

    def __call__(self, frame: bytes) -> Iterator[bytes]:
        """The frames that arrive for this one: none, itself, itself twice, the one before it after it."""
        held, self._held = self._held, None
        if not _is_segment(frame):
            yield frame
        elif self._random.random() < self._lose:
            self.lost += 1
        elif self._random.random() < self._repeat:
            self.repeated += 1
            yield from (frame, frame)
        elif held is None and self._random.random() < self._swap:
            self.swapped += 1
            self._held = frame
        else:
            yield frame
        if held is not None:
            yield held


def _is_segment(frame: bytes) -> bool:
    packet = parse_ip(frame)
    if packet is None or packet.fragment or packet.protocol != TCP:
        return False
    segment = parse_tcp(packet)
    return segment is not None and not segment.flags & (SYN | RST)
