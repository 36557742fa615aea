"""Deadlines and waiting: the only module that sleeps.

A `Deadline` is made once and handed down, so that an outer limit bounds every inner wait. Where it cannot be handed
down, because code in between makes deadlines of its own, `bounding` has them end no later than the outer one.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TypeVar

from harness.errors import DeadlineExpired

T = TypeVar("T")


class Deadline:
    """A point in monotonic time, `seconds` from now, but never behind one that bounds this thread now."""

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float) -> None:
        outer = _bound.get()
        if outer is not None:
            seconds = min(seconds, outer.remaining())
        self.seconds = seconds
        self._end: float = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never below zero: fit for `select`, `Event.wait` and socket time-outs."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end

    def sub(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, but never later than this one."""
        return Deadline(min(seconds, self.remaining()))

    def expire(self, describe: str, last_seen: object = None) -> DeadlineExpired:
        """The error to raise when this deadline ran out while waiting for `describe`."""
        seen = "" if last_seen is None else f" (last seen: {last_seen})"
        return DeadlineExpired(f"Waited {self.seconds:.1f} s for {describe}, in vain{seen}.")


_bound: ContextVar[Deadline | None] = ContextVar("bound", default=None)


@contextmanager
def bounding(deadline: Deadline | None) -> Iterator[None]:
    """Every deadline that this thread makes in the block ends no later than this one; with None nothing bounds them.

    None is for what follows when an outer time is up already: finding out why.
    """
    outer = _bound.get()
    inner = deadline if deadline is None or outer is None or deadline.remaining() < outer.remaining() else outer
    token = _bound.set(inner)
    try:
        yield
    finally:
        _bound.reset(token)


def wait_for(check: Callable[[], T | None], deadline: Deadline, describe: str, interval: float = 0.02) -> T:
    """Call `check` until it returns something other than None, and return that.

    `check` may raise `NotYet(observation)` to say what it saw; the last observation is part of the error.

    Raises DeadlineExpired when the time is up; the check is always made at least once, and once more at the end.
    """
    seen: object = None
    while True:
        last_try = deadline.expired
        try:
            value = check()
        except NotYet as not_yet:
            seen, value = not_yet.observation, None
        if value is not None:
            return value
        if last_try:
            raise deadline.expire(describe, seen)
        time.sleep(min(interval, deadline.remaining() or 0.001))  # noqa: TID251 - the one place that may


def lock(file: IO[str], deadline: Deadline, describe: str) -> None:
    """Lock a file for this process alone (flock(2)); it is free again when the file is closed.

    Raises DeadlineExpired when somebody else holds it until then.
    """

    def attempt() -> bool | None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return True

    wait_for(attempt, deadline, describe)


class NotYet(Exception):
    """Raised by a check that wants its observation shown when the time is up."""

    def __init__(self, observation: object) -> None:
        super().__init__(str(observation))
        self.observation = observation
