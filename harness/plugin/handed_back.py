"""Scenarios that a latched machine gives back, and which of the others runs them; the leader's side.

pytest-xdist hands a worker scenarios ahead, and knows no way to take back those that come next. So a latched worker
runs none of them and gives each back here; whoever has run its own share asks for more before it ends.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from harness.waiting import Deadline

_LOOK_SECONDS = 1.0
# Until pytest-xdist has begun another worker in the place of one that died, which it does some times, but not always:
# that is the start of a program, on a host that may be busy with machines.
_REPLACED_SECONDS = 30.0


class _Is(Enum):
    BUSY = auto()
    IDLE = auto()
    LATCHED = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class More:
    """What a worker that has nothing left is to do: run this scenario, or skip it for this reason; None is to end."""

    scenario: str
    skip: str = ""


class HandedBack:
    """Asked and told by several threads, one for each worker."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all below
        self._scenarios: deque[str] = deque()
        self._workers: dict[str, _Is] = {}
        self._causes: dict[str, str] = {}
        self._died: dict[str, Deadline] = {}
        self._closed = False

    def expect(self, worker: str) -> None:
        """There is such a worker: what it gives back is waited for."""
        with self._changed:
            self._workers[worker] = _Is.BUSY
            self._died.clear()

    def give_back(self, worker: str, scenario: str, cause: str) -> bool:
        """A latched worker leaves a scenario to the others; whether it is the first one, so that it should be told."""
        with self._changed:
            first = worker not in self._causes
            self._causes[worker] = cause
            self._scenarios.append(scenario)
            self._changed.notify_all()
            return first

    def take_back(self, scenario: str) -> None:
        """What `more` gave did not arrive: somebody else is to have it."""
        with self._changed:
            self._scenarios.appendleft(scenario)
            self._changed.notify_all()

    def more(self, worker: str, latched: str) -> More | None:
        """Wait until there is something to run, or to skip, or nobody is left who could give anything back.

        `latched` is why the worker runs nothing any more, empty when it is sound.
        """
        with self._changed:
            if worker not in self._workers:
                return None  # its process is no more
            self._workers[worker] = _Is.LATCHED if latched else _Is.IDLE
            if latched:
                self._causes[worker] = latched
            self._changed.notify_all()
            while not self._closed:
                states = set(self._workers.values())
                if self._scenarios and (not latched or (states == {_Is.LATCHED} and not self._replacement_comes())):
                    if not latched:
                        self._workers[worker] = _Is.BUSY
                    return More(self._scenarios.popleft(), self._why() if latched else "")
                if not self._scenarios and _Is.BUSY not in states:
                    break
                self._changed.wait(_LOOK_SECONDS)
        return None

    def ended(self, worker: str) -> None:
        """It says nothing any more: it gives nothing back."""
        with self._changed:
            if worker in self._workers:
                self._workers[worker] = _Is.ENDED
            self._changed.notify_all()

    def gone(self, worker: str, *, died: bool) -> None:
        """Its process is no more; in the place of one that died comes another, unless too many have died."""
        with self._changed:
            self._workers.pop(worker, None)
            if died:
                self._died[worker] = Deadline(_REPLACED_SECONDS)
            self._changed.notify_all()

    def close(self) -> None:
        """The run is broken off."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _replacement_comes(self) -> bool:
        return any(not deadline.expired for deadline in self._died.values())

    def _why(self) -> str:
        return "every machine was lost twice. " + " ".join(f"{name}: {why}" for name, why in self._causes.items())
