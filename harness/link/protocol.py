"""What every link offers, and the fan-out to its subscribers that all of them share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from harness.waiting import Deadline


class Direction(StrEnum):
    """Which way a frame went, seen from the harness."""

    TO_GUEST = "to-guest"
    FROM_GUEST = "from-guest"


Subscriber = Callable[[Direction, bytes, float], None]
"""Called with the direction, the frame and monotonic seconds; on the link's own thread for frames from the guest."""

Observer = Callable[[Direction, bytes, float, str], None]
"""Called like a subscriber, for every frame that was sent, with what the wire did to it in words.

Empty where it did nothing; it begins with "lost" where the frame did not arrive.
"""

LostSubscriber = Callable[[str], None]
"""Called once with a sentence that says why the link is gone."""


@dataclass(slots=True, kw_only=True)
class LinkCounters:
    """Frames and bytes since the link was made; `dropped` is what no queue had room for, `drained` what was stale."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    dropped: int = 0
    drained: int = 0
    refused_peers: int = 0


class Link(Protocol):
    """A path that carries whole Ethernet frames to and from one test NIC."""

    @property
    def counters(self) -> LinkCounters:
        """What was carried so far."""

    @property
    def epoch(self) -> int:
        """Number of times the past was cut off: by `drain`, and by a new peer."""

    def send(self, frame: bytes, deadline: Deadline | None = None) -> None:
        """Send one frame; waits while the other side takes none. Not to be called by a subscriber."""

    def send_all(self, frames: Iterable[bytes], deadline: Deadline | None = None) -> None:
        """Send frames in order; waits while the other side takes none. Not to be called by a subscriber."""

    def post(self, frame: bytes) -> None:
        """Send one frame without ever waiting: what subscribers answer with. Dropped and counted if nothing moves."""

    def subscribe(self, callback: Subscriber, direction: Direction | None = None) -> Callable[[], None]:
        """Have `callback` called for every frame (of one direction) from now on; returns how to stop it.

        Who listens to both directions is told first, so that a witness sees a question before its answer.
        """

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Have `callback` called for every frame from now on, those too that the wire loses; returns how to stop it.

        It is told before every subscriber.
        """

    def let_pass(self, pattern: bytes) -> AbstractContextManager[None]:
        """A block in which frames that hold `pattern` pass whatever impairs the link, behind all that it held back."""

    def drain(self, deadline: Deadline) -> int:
        """Throw away what is under way in both directions and begin a new epoch; returns how many frames that were."""

    def close(self) -> None:
        """End the link; idempotent."""


class Subscribers:
    """A set of callbacks by direction that can be read without a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the replacement of the tuples, not their reading
        self._by_direction: dict[Direction, tuple[Subscriber, ...]] = dict.fromkeys(Direction, ())
        self._observers: tuple[Observer, ...] = ()

    def add(self, callback: Subscriber, direction: Direction | None) -> Callable[[], None]:
        """Add a callback and return how to remove it again."""
        wanted = tuple(Direction) if direction is None else (direction,)
        with self._lock:
            for each in wanted:
                if direction is None:
                    self._by_direction[each] = (callback, *self._by_direction[each])
                else:
                    self._by_direction[each] = (*self._by_direction[each], callback)

        def remove() -> None:
            with self._lock:
                for each in wanted:
                    left = list(self._by_direction[each])
                    if callback in left:
                        left.remove(callback)
                    self._by_direction[each] = tuple(left)

        return remove

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Add one who is told of what was lost, too, and return how to remove it again."""
        with self._lock:
            self._observers = (*self._observers, callback)

        def remove() -> None:
            with self._lock:
                self._observers = tuple(other for other in self._observers if other is not callback)

        return remove

    def tell_fate(self, direction: Direction, frame: bytes, time: float, fate: str) -> None:
        """Call the observers alone: the frame does not arrive."""
        for observer in self._observers:
            observer(direction, frame, time, fate)

    def tell(self, direction: Direction, frame: bytes, time: float, fate: str = "") -> None:
        """Call the observers, then everyone who asked for this direction."""
        self.tell_fate(direction, frame, time, fate)
        for callback in self._by_direction[direction]:
            callback(direction, frame, time)
