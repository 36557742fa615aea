"""Cells side by side within the budget: each is begun when there is room for it, the longest first."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from harness.nightly.budget import Cost, cost_of, free_room, total
from harness.nightly.cell_run import CellRun, cells_hear_interrupts
from harness.nightly.cells import Cell
from harness.nightly.estimate import Expected, longest_first
from harness.nightly.state import CellState, NightState, now, write_state

_TICK_SECONDS = 0.5
_ROOM_SECONDS = 600.0  # how long the host may be full of other people's work before a cell is lost
_USAGE, _LOST = 2, 3


class View(Protocol):
    """What a person sees meanwhile."""

    def begin(self, run: CellRun) -> None:
        """A cell begins."""

    def end(self, run: CellRun, state: CellState) -> None:
        """A cell has ended."""

    def tick(self, running: Sequence[CellRun], waiting: Sequence[Cell]) -> None:
        """Some time has passed."""

    def stop(self, running: Sequence[CellRun]) -> None:
        """Nothing more is begun, and what runs is asked to end."""


class Pool:
    """Runs what is waiting in a night's state, and keeps the state true at each moment."""

    def __init__(
        self,
        folder: Path,
        state: NightState,
        cells: Sequence[Cell],
        *,
        expected: Mapping[str, Expected],
        budget: Cost,
        minutes: float,
        view: View,
        more: Sequence[str] = (),
        command: Sequence[str] | None = None,
        room: Callable[[Path], Cost] = free_room,
    ) -> None:
        waiting = {each.id for each in state.cells if each.stage == "waiting"}
        self._waiting = longest_first((cell for cell in cells if cell.id in waiting), expected)
        self._folder = folder
        self._state = state
        self._budget = budget
        self._seconds = minutes * 60
        self._view = view
        self._more = tuple(more)
        self._command = tuple(command or (str(Path(sys.executable).with_name("wfp-hil")), "run"))
        self._room = room
        self._running: list[CellRun] = []
        self._ended: queue.Queue[CellRun] = queue.Queue()
        self._began: dict[str, float] = {}
        self._full_since: float | None = None

    def run(self) -> None:
        """Until nothing waits or runs. Interrupted, all that runs is asked to end and waits for the next time."""
        with cells_hear_interrupts(), self._all_ended():
            while self._waiting or self._running:
                self._admit()
                with suppress(queue.Empty):
                    self._take(self._ended.get(timeout=_TICK_SECONDS))
                for each in self._running:
                    each.progress.refresh()
                self._view.tick(self._running, self._waiting)

    def _admit(self) -> None:
        for cell in list(self._waiting):
            taken = total(cost_of(run.cell) for run in self._running)
            cost = cost_of(cell)
            if not (taken + cost).fits(self._budget):
                continue
            # Others work on this host, too: what the budget allows must be there.
            lack = Cost(memory_mib=cost.memory_mib, disk_mib=cost.disk_mib).lacks(self._room(self._folder))
            if lack:
                self._full(cell, lack)
                continue
            self._full_since = None
            self._waiting.remove(cell)
            self._begin(cell)

    def _full(self, cell: Cell, lack: str) -> None:
        """There is no room on the host; where none of ours will make any, a cell is given up after a while."""
        if self._running:
            self._full_since = None
            return
        self._full_since = self._full_since or time.monotonic()
        if time.monotonic() - self._full_since < _ROOM_SECONDS:
            return
        self._waiting.remove(cell)
        state = self._state.cell(cell.id)
        state.stage, state.exit_code = "finished", _LOST
        state.reason = f"The host was full for {_ROOM_SECONDS / 60:.0f} minutes: it takes {lack} free now."
        write_state(self._folder, self._state)

    def _begin(self, cell: Cell) -> None:
        state = self._state.cell(cell.id)
        state.runs += 1
        name = cell.id if state.runs == 1 else f"{cell.id}.{state.runs}"
        state.stage, state.folder, state.started = "running", f"cells/{name}", now()
        write_state(self._folder, self._state)
        self._began[cell.id] = time.monotonic()
        folder = self._folder / state.folder
        argv = [*self._command, *cell.words, "--out", str(folder), *self._more]
        run = CellRun(cell, folder, argv, seconds=self._seconds, done=self._ended.put)
        self._running.append(run)
        self._view.begin(run)

    def _take(self, run: CellRun) -> None:
        run.join()
        run.progress.refresh()
        state = self._state.cell(run.cell.id)
        state.seconds = round(time.monotonic() - self._began[run.cell.id], 1)
        state.exit_code, state.reason = run.exit_code, run.reason
        if run.exit_code == 0 and not run.progress.done:  # by --help among its words, say: that is no pass
            state.exit_code, state.reason = _USAGE, "It ended with 0, and has run no scenario."
        state.stage = "waiting" if run.exit_code is None else "finished"
        self._running.remove(run)
        write_state(self._folder, self._state)
        self._view.end(run, state)

    @contextmanager
    def _all_ended(self) -> Iterator[None]:
        """However the block ends, no run is left behind, and the state says what became of each."""
        try:
            yield
        finally:
            for each in self._running:
                each.interrupt()
            if self._running:
                self._view.stop(self._running)
            for each in list(self._running):  # which of them said so already, an interrupt may have made us forget
                self._take(each)
