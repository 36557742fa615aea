"""A pair of links inside one process, for tests: what one sends, the other receives, or what a bad wire makes of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from harness.errors import LinkError
from harness.link.protocol import Direction, LinkCounters, Observer, Subscriber, Subscribers
from harness.link.wire import Wire
from harness.waiting import Deadline

_END_SECONDS = 10.0  # a subscriber may be in the middle of something

Misbehaviour = Callable[[bytes], Iterable[bytes]]
"""What becomes of a frame on its way: none, itself, itself twice, an earlier one that was held back; a `Wire`, too."""


def _unimpaired(frame: bytes) -> Iterable[bytes]:
    return (frame,)


class MemoryLink:
    """One end of a pair; frames arrive on a thread of its own, as they do on a real link."""

    def __init__(self, misbehaviour: Misbehaviour | None = None) -> None:
        self.counters = LinkCounters()
        self.epoch = 1
        self.misbehaviour: Misbehaviour = misbehaviour or _unimpaired
        self._subscribers = Subscribers()
        self._inbox: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._other: MemoryLink | None = None
        self._lock = threading.Lock()  # one sender at a time, so that a misbehaviour needs none
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="memory-link", daemon=True)
        self._thread.start()

    @classmethod
    def pair(cls, there: Misbehaviour | None = None, back: Misbehaviour | None = None) -> tuple[Self, Self]:
        """Two ends; `there` impairs what the first sends, `back` what the second sends."""
        first, second = cls(there), cls(back)
        first._other, second._other = second, first
        return first, second

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def subscribe(self, callback: Subscriber, direction: Direction | None = None) -> Callable[[], None]:
        """Have `callback` called for every frame from now on."""
        return self._subscribers.add(callback, direction)

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Have `callback` called for every frame from now on."""
        return self._subscribers.observe(callback)

    @contextmanager
    def let_pass(self, pattern: bytes) -> Iterator[None]:
        """A block in which frames that hold `pattern` pass the wires of this end and of the other."""
        with ExitStack() as stack:
            for end in (self, self._other):
                if end is not None and isinstance(end.misbehaviour, Wire):
                    stack.enter_context(end.misbehaviour.spared.let_pass(pattern))
            yield

    def send(self, frame: bytes, deadline: Deadline | None = None) -> None:
        """Send one frame; there is always room."""
        if deadline is not None and deadline.expired:
            raise deadline.expire("room on the link")
        self.post(frame)

    def send_all(self, frames: Iterable[bytes], deadline: Deadline | None = None) -> None:
        """Send frames in order."""
        for frame in frames:
            self.send(frame, deadline)

    def post(self, frame: bytes) -> None:
        """Send one frame."""
        if self._other is None:
            raise LinkError("The link was closed.")
        with self._lock:
            self.counters.sent += 1
            self.counters.sent_bytes += len(frame)
            self._subscribers.tell(Direction.TO_GUEST, frame, time.monotonic())
            for arriving in self.misbehaviour(frame):
                self._other._inbox.put(arriving)  # noqa: SLF001 - the other half of this very object

    def drain(self, deadline: Deadline) -> int:
        """Throw away what has not been delivered to this end yet, and begin a new epoch."""
        held: list[bytes | threading.Event | None] = []
        while not self._inbox.empty():
            held.append(self._inbox.get())
        stale = sum(isinstance(item, bytes) for item in held)
        self.counters.drained += stale
        self.settle(deadline)
        self.epoch += 1
        return stale

    def settle(self, deadline: Deadline) -> None:
        """Wait until everything that was sent to this end so far has been delivered."""
        reached = threading.Event()
        self._inbox.put(reached)
        if threading.current_thread() is not self._thread and not reached.wait(deadline.remaining()):
            raise deadline.expire("the frames in the memory link to be delivered")

    def close(self) -> None:
        """End this end; the other one goes on, into the void."""
        self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_SECONDS)

    def _serve(self) -> None:
        while (item := self._inbox.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            self.counters.received += 1
            self.counters.received_bytes += len(item)
            try:
                self._subscribers.tell(Direction.FROM_GUEST, item, time.monotonic())
            except Exception as error:  # kept for the test to look at
                self.failure = self.failure or error
