"""The fence: a sentinel that proves all earlier work is done, so that "nothing happened" needs no waiting.

A ping passes the link and the guest's stack behind every frame sent before it; the driver's drain ends behind its
own work and puts a marker into its ring; a second ping brings out what that work sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from harness.errors import DeadlineExpired, GuestHung
from harness.steps import step
from harness.trace import Trace
from harness.waiting import Deadline


class Pinger(Protocol):
    """The stations on the link."""

    def ping(self, deadline: Deadline) -> object:
        """One round trip to the guest and back."""


class Drainer(Protocol):
    """The driver's control."""

    def drain(self) -> int:
        """Wait until the driver's own work is done; the number of the marker it then recorded."""


_LOOK_SECONDS = 1.0


class Fence:
    """Call it between acting and expecting.

    `alarm` raises what ended the guest; it is asked when a ping stays away for a second.
    """

    def __init__(
        self, stations: Sequence[Pinger], driver: Drainer | None, trace: Trace, alarm: Callable[[], None] | None = None
    ) -> None:
        self._stations, self._driver, self._trace = list(stations), driver, trace
        self._alarm = alarm

    def widen(self, *stations: Pinger) -> None:
        """From now on the round trips of these follow, in this order: for what goes from one link to another."""
        self._stations += stations

    def __call__(self, *, seconds: float = 20.0) -> None:
        """Return when everything that was set off before has happened and been recorded.

        Raises GuestHung when that does not come to pass in `seconds`.
        """
        deadline = Deadline(seconds)
        with step("fence"):
            try:
                self._ping(deadline)
                if self._driver is not None:
                    marker = self._driver.drain()
                    self._ping(deadline)
                    self._read_until(marker, deadline)
            except DeadlineExpired as late:
                raise GuestHung(
                    f"The fence did not close within {seconds:.0f} s: {late.message}",
                    hint="The driver or the guest's stack makes no progress.",
                ) from late

    def _ping(self, deadline: Deadline) -> None:
        for stations in self._stations:
            while True:
                try:
                    stations.ping(deadline.sub(_LOOK_SECONDS) if self._alarm is not None else deadline)
                    break
                except DeadlineExpired:
                    if self._alarm is not None:
                        self._alarm()
                    if deadline.expired or self._alarm is None:
                        raise

    def _read_until(self, marker: int, deadline: Deadline) -> None:
        self._trace.refresh()
        while not self._trace.has_marker(marker):
            if deadline.expired:
                raise deadline.expire(f"the driver's marker, event {marker}", f"event {self._trace.last_seq}")
            self._trace.refresh()
