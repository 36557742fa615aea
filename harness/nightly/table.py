"""What a person sees of a night: the plan, then a table that is kept up to date, or plain lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.nightly.budget import Cost, cost_of
from harness.nightly.cell_run import CellRun
from harness.nightly.cells import Cell
from harness.nightly.estimate import Expected, longest_first, whole_seconds
from harness.nightly.matrix import AXES
from harness.nightly.state import CellState, NightState
from harness.printable import printable
from harness.report import Outcome

_STYLES = {
    Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.CRASH: "bold red", Outcome.HANG: "bold red",
    Outcome.LOST: "magenta", Outcome.SKIP: "yellow",
}  # fmt: skip
_WORDS = {0: ("passed", "green"), 1: ("the driver failed", "red"), 2: ("usage", "magenta"), 3: ("lost", "magenta")}
_MOST_WAITING = 8


def show_plan(
    console: Console, cells: Sequence[Cell], state: NightState, expected: Mapping[str, Expected], budget: Cost
) -> None:
    """All cells with what is to become of them, how many scenarios that is, and how long by history."""
    table = Table(box=None, pad_edge=False)
    for title in ("cell", "scenarios", "expected", "takes", ""):
        table.add_column(title, justify="right" if title in ("scenarios", "expected") else "left", overflow="fold")
    to_run = longest_first((cell for cell in cells if state.cell(cell.id).stage == "waiting"), expected)
    for cell in to_run:
        cost, guess = cost_of(cell), expected[cell.id]
        takes = f"{_many(cost.cores, 'core')}, {cost.memory_mib} MiB"
        again = state.cell(cell.id).again
        notes = [f"again: {again}"] * bool(again)
        new = guess.of - guess.known
        notes += ["never ran" if new == guess.of else f"{new} never ran"] * bool(new)
        table.add_row(
            Text(cell.id), str(len(cell.scenarios)), clock(guess.seconds), takes,
            Text("; ".join(notes), style="yellow" if again else "dim"),
        )  # fmt: skip
    for each in state.cells:
        if each.stage == "finished":
            came_to, style = verdict(each)
            table.add_row(Text(each.id, style="dim"), str(each.scenarios), "", "", Text(came_to, style=style))
    console.print(table)
    skipped = Counter(each.reason for each in state.cells if each.stage == "refused")
    for reason, count in skipped.items():
        console.print(Text(f"SKIP {_many(count, 'cell')}: {reason}", style="yellow"), soft_wrap=not console.is_terminal)
    scenarios = sum(len(cell.scenarios) for cell in to_run)
    finished = sum(each.stage == "finished" for each in state.cells)
    refused = sum(each.stage == "refused" for each in state.cells)
    side_by_side = whole_seconds(to_run, expected, budget)
    alone = sum(expected[cell.id].seconds for cell in to_run)
    words = [f"{_many(len(to_run), 'cell')} with {_many(scenarios, 'scenario')}"]
    words += [f"{finished} finished before"] * bool(finished) + [f"{refused} skipped"] * bool(refused)
    console.print(
        f"{', '.join(words)}: {clock(side_by_side)} by history ({clock(alone)} one after the other), within "
        f"{_many(budget.cores, 'core')}, {budget.memory_mib} MiB of memory, {budget.disk_mib >> 10} GiB of disk.",
        soft_wrap=not console.is_terminal,
    )


class NightView:
    """The live table; where the output is no terminal, a line when a cell begins and one when it ends."""

    def __init__(self, console: Console, cells: Sequence[Cell], expected: Mapping[str, Expected], budget: Cost) -> None:
        """`cells` are those that are to be run."""
        self._console = console
        self._names = short_names(cells)
        self._verdicts: Counter[str] = Counter()
        self._expected = expected
        self._budget = budget
        self._began = time.monotonic()
        self._starts: dict[str, float] = {}
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table until the block ends."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as self._live:
            yield
        self._live = None

    def begin(self, run: CellRun) -> None:
        """A cell begins."""
        self._starts[run.cell.id] = time.monotonic()
        if self._live is None:
            self._say(Text(f"begins  {run.cell.id}, expected {clock(self._expected[run.cell.id].seconds)}"))

    def end(self, run: CellRun, state: CellState) -> None:
        """A cell has ended."""
        words, style = verdict(state)
        self._verdicts[words] += 1
        line = Text(f"{words}  ", style=style)
        line.append(f"{run.cell.id}: {clock(state.seconds)}, ", style="default")
        line.append_text(_counts(run))
        if state.reason:
            line.append(f"\n           {printable(state.reason)}", style="default")
        self._say(line)

    def tick(self, running: Sequence[CellRun], waiting: Sequence[Cell]) -> None:
        """Some time has passed."""
        if self._live is not None:
            self._live.update(self._table(running, waiting))

    def stop(self, running: Sequence[CellRun]) -> None:
        """The night is interrupted, and what runs is asked to end."""
        if self._live is not None:
            self._live.update(Text(""))
        if running:
            runs = "the run takes its machine" if len(running) == 1 else f"{len(running)} runs take their machines"
            self._say(Text(f"interrupted: {runs} away, which may take a minute", style="magenta"))

    def _table(self, running: Sequence[CellRun], waiting: Sequence[Cell]) -> Group:
        # Not the last column: who writes there makes some terminals begin another line.
        table = Table(box=None, pad_edge=False, width=max(20, self._console.width - 1))
        for title in ("cell", "done", "", "took", "expected"):
            right = title in ("done", "took", "expected")
            table.add_column(title, justify="right" if right else "left", overflow="fold")
        table.add_column("now", no_wrap=True, overflow="ellipsis", ratio=1)  # what is left of the line
        left = 0.0
        for run in running:
            took = time.monotonic() - self._starts[run.cell.id]
            expected = self._expected[run.cell.id].seconds
            left = max(left, expected - took)
            now = run.progress.running if run.progress.has_guest else ()
            doing = now[-1].rpartition("::")[2].removeprefix("test_") if now else "prepares its guest"
            counts = _counts(run) if run.progress.done else Text()
            done = f"{run.progress.done}/{len(run.cell.scenarios)}"
            late = "yellow" if took > 1.5 * expected else ""
            table.add_row(
                Text(self._names[run.cell.id]), done, counts, Text(clock(took), style=late), clock(expected),
                Text(printable(doing), style="dim"),
            )  # fmt: skip
        for cell in waiting[:_MOST_WAITING]:
            guess = clock(self._expected[cell.id].seconds)
            table.add_row(Text(self._names[cell.id], style="dim"), f"0/{len(cell.scenarios)}", "", "", guess, "waits")
        more = f", {len(waiting) - _MOST_WAITING} more wait" if len(waiting) > _MOST_WAITING else ""
        left += whole_seconds(waiting, self._expected, self._budget)
        ended = [f"{count} {words}" for words, count in self._verdicts.items()]
        foot = f"{clock(time.monotonic() - self._began)} so far, about {clock(max(left, 0))} to go{more}"
        foot += f"; of {len(self._names)} cells: {', '.join(ended)}" * bool(ended)
        return Group(table, Text(foot, style="bold"))

    def _say(self, text: Text) -> None:
        line = Text(f"{clock(time.monotonic() - self._began):>8}  ")
        line.append_text(text)
        self._console.print(line, soft_wrap=not self._console.is_terminal)


def show_end(console: Console, state: NightState) -> None:
    """One line: what the cells came to, those of earlier tries among them."""
    line = Text(f"{_many(len(state.cells), 'cell')}: ", style="bold")
    for at, ((words, style), count) in enumerate(Counter(verdict(each) for each in state.cells).most_common()):
        line.append(f"{', ' if at else ''}{count} {words}", style=style)
    console.print(line, soft_wrap=not console.is_terminal)


def short_names(cells: Sequence[Cell]) -> dict[str, str]:
    """What tells the cells of a night from each other, by id: 'igb+standard' where they differ in these axes alone."""
    differ = [axis for axis in AXES if len({cell.value(axis) for cell in cells}) > 1]
    return {cell.id: "+".join(filter(None, map(cell.value, differ))) or cell.id for cell in cells}


def verdict(state: CellState) -> tuple[str, str]:
    """What a cell came to, in words, and their style."""
    if state.stage == "refused":
        return "SKIP", "yellow"
    if state.stage != "finished":
        return "interrupted", "magenta"
    return _WORDS.get(state.exit_code or 0, (f"exit code {state.exit_code}", "magenta"))


def clock(seconds: float) -> str:
    """'48 s', '12 min', '3 h 05 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _counts(run: CellRun) -> Text:
    text = Text()
    for outcome in Outcome:
        if run.progress.counts[outcome]:
            text.append(f"{' ' if text else ''}{run.progress.counts[outcome]} {outcome}", style=_STYLES[outcome])
    return text or Text("nothing ran", style="dim")
