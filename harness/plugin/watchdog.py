"""A watch-dog over a scenario: when nothing moves for as long as its step allows, what waits is ended, as a hang.

Progress is any of: an answer of the guest over WinRM or SFTP, a line of the probe, a frame on a link either way, a byte
on the serial port, a step that begins or ends. The waits themselves have deadlines; this is for what waits on while
none of them is over, as a loop that asks again and again, or a long one in which the guest has long fallen silent.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.errors import GuestHung
from harness.steps import StepEvent, subscribe

QUIET_SECONDS = 45.0
_LOOK_SECONDS = 0.5
# Modules whose frame on the watched thread's stack says that a person is looking: time does not count then.
_DEBUGGERS = frozenset({"bdb", "pdb", "_pytest.debugging"})


class Watchdog:
    """`progress` gives anything that differs once something moved; `bite` ends what waits, in the dog's own thread."""

    def __init__(
        self,
        progress: Callable[[], object],
        bite: Callable[[GuestHung], None],
        *,
        quiet_seconds: float = QUIET_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._bite = bite
        self._usual = self._quiet = quiet_seconds
        self._interval = look_seconds
        self._clock = clock
        self._lock = threading.Lock()  # guards the three below
        self._open: list[tuple[str, float]] = []  # steps of the watched thread, with what each may be quiet
        self._steps = 0
        self._hung: GuestHung | None = None
        self._seen: object = None
        self._moved = clock()
        self._over = threading.Event()
        self._watched = 0

    @property
    def hung(self) -> GuestHung | None:
        """What it told, if it bit."""
        with self._lock:
            return self._hung

    @contextmanager
    def watching(self, quiet_seconds: float | None = None) -> Iterator[None]:
        """Watch the thread that runs the block until its end; `quiet_seconds` in the place of the usual ones."""
        self._quiet = self._usual if quiet_seconds is None else quiet_seconds
        watched = self._watched = threading.get_ident()

        def take(event: StepEvent) -> None:
            if threading.get_ident() == watched:
                self._take(event)

        with self._lock:
            self._open, self._hung = [], None
        self._over.clear()
        self._seen, self._moved = None, self._clock()
        unsubscribe = subscribe(take)
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            unsubscribe()
            self._over.set()
            thread.join(10.0)

    def look(self) -> GuestHung | None:
        """One look: what it tells and ends, if nothing moved for too long. It bites once."""
        now, seen = self._clock(), (self._progress(), self._steps)
        if seen != self._seen or _is_debugged(self._watched):
            self._seen, self._moved = seen, now
            return None
        with self._lock:
            title, quiet = self._open[-1] if self._open else ("the scenario's own code", self._quiet)
            if self._hung is not None or now - self._moved < quiet:
                return None
            hung = self._hung = GuestHung(
                f"Nothing moved for {now - self._moved:.0f} s in '{title}': no answer over WinRM, nothing from the "
                "probe, no frame on the link, no word on the serial port."
            )
        self._bite(hung)
        return hung

    def _take(self, event: StepEvent) -> None:
        with self._lock:
            self._steps += 1
            if event.kind == "start":
                outer = self._open[-1][1] if self._open else self._quiet
                own = event.budget if event.budget is not None else outer
                self._open.append((event.title, min(own, outer) if self._open else own))
            elif event.kind in ("stop", "error") and self._open:
                self._open.pop()

    def _watch(self) -> None:
        while not self._over.wait(self._interval):
            self.look()


def _is_debugged(thread: int) -> bool:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way to another thread's stack
    while frame is not None:
        if frame.f_globals.get("__name__") in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False
