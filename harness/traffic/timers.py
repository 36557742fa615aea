"""Timers of the stations: one thread that calls what is due."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from itertools import count

_END_SECONDS = 10.0  # a timer's callback may be in the middle of something


class Timer:
    """Something to be called once; `cancel` is cheap and may come late."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Have it not called any more (it may be running already)."""
        self.callback = None


class Timers:
    """A heap of timers and the thread that serves it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._closed = False
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="station-timers", daemon=True)
        self._thread.start()

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Have `callback` called `seconds` from now."""
        timer = Timer(time.monotonic() + seconds, callback)
        with self._changed:
            heapq.heappush(self._heap, (timer.due, next(self._order), timer))
            if self._heap[0][2] is timer:
                self._changed.notify()
        return timer

    def close(self) -> None:
        """End the thread; what is not due yet is never called."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_SECONDS)

    def _serve(self) -> None:
        while (callback := self._next()) is not None:
            try:
                callback()
            except Exception as error:  # kept, so that one connection's trouble does not stop the others' clocks
                self.failure = self.failure or error

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                while self._heap and self._heap[0][2].callback is None:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._changed.wait()
                    continue
                wait = self._heap[0][0] - time.monotonic()
                if wait <= 0:
                    callback = heapq.heappop(self._heap)[2].callback
                    if callback is not None:
                        return callback
                else:
                    self._changed.wait(wait)
            return None
