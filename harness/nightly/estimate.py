"""How long cells will take, by what their scenarios took before."""

from __future__ import annotations

import heapq
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.history import Past
from harness.nightly.budget import Cost, cost_of
from harness.nightly.cells import Cell

_LATEST = 10  # attempts of a scenario that are looked at
_UNKNOWN_SECONDS = 3.0  # of a scenario about whose like nothing is known
_START_SECONDS = 60.0  # of a cell before its first scenario, where no earlier night tells


@dataclass(frozen=True, slots=True)
class Expected:
    """How long a cell is expected to take, and how many of its scenarios have a past that says so."""

    seconds: float
    known: int
    of: int


@dataclass(slots=True)
class Experience:
    """What is known of earlier runs: seconds by (guest, scenario), and of whole cells by id and number of scenarios."""

    scenarios: dict[tuple[str, str], float] = field(default_factory=dict)
    guests: dict[str, float] = field(default_factory=dict)
    cells: dict[tuple[str, int], float] = field(default_factory=dict)

    def expect(self, cell: Cell) -> Expected:
        """By an earlier night if it ran the same cell, else by the scenarios one by one."""
        guest, count = cell.profile.name, len(cell.scenarios)
        known = [self.scenarios[guest, name] for name in cell.scenarios if (guest, name) in self.scenarios]
        whole = self.cells.get((cell.id, count))
        if whole is not None:
            return Expected(whole, count, count)
        unknown = (count - len(known)) * self.guests.get(guest, _UNKNOWN_SECONDS)
        return Expected(_START_SECONDS + (sum(known) + unknown) / cell.machines, len(known), count)


def experience(pasts: Iterable[Past], cells: Mapping[tuple[str, int], Sequence[float]]) -> Experience:
    """Medians of the latest attempts, which come oldest first; `cells` are the durations of whole cells."""
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    of_guest: defaultdict[str, list[float]] = defaultdict(list)
    for past in pasts:
        if past.seconds > 0:
            times[past.guest, past.scenario].append(past.seconds)
            of_guest[past.guest].append(past.seconds)
    return Experience(
        scenarios={key: statistics.median(seconds[-_LATEST:]) for key, seconds in times.items()},
        guests={guest: statistics.median(seconds) for guest, seconds in of_guest.items()},
        cells={key: statistics.median(seconds[-_LATEST:]) for key, seconds in cells.items() if seconds},
    )


def longest_first(cells: Iterable[Cell], expected: Mapping[str, Expected]) -> list[Cell]:
    """The order in which they are begun: what takes longest must not be left for the end."""
    return sorted(cells, key=lambda cell: (-expected[cell.id].seconds, cell.id))


def whole_seconds(cells: Sequence[Cell], expected: Mapping[str, Expected], budget: Cost) -> float:
    """How long all of them take within the budget, begun in this order as there is room."""
    waiting, ends, clock = list(cells), list[tuple[float, int, Cost]](), 0.0
    room = budget
    while waiting or ends:
        for cell in list(waiting):
            cost = cost_of(cell)
            if cost.fits(room):
                waiting.remove(cell)
                room = _less(room, cost)
                heapq.heappush(ends, (clock + expected[cell.id].seconds, len(waiting), cost))
        if not ends:
            break  # what is left would never fit; the budget says so elsewhere
        clock, _, freed = heapq.heappop(ends)
        room = room + freed
    return clock


def _less(room: Cost, cost: Cost) -> Cost:
    return Cost(
        cores=room.cores - cost.cores,
        memory_mib=room.memory_mib - cost.memory_mib,
        disk_mib=room.disk_mib - cost.disk_mib,
    )
