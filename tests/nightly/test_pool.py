"""Cells side by side: never more than the budget allows, each for itself, and nothing lost when the night is ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.nightly import cell_run
from harness.nightly.budget import Cost
from harness.nightly.cells import Cell
from harness.nightly.estimate import Expected, whole_seconds
from harness.nightly.pool import Pool
from harness.nightly.results import exit_code
from harness.nightly.state import NightState, new_state, read_state, resumed, write_state
from harness.waiting import Deadline, wait_for
from tests.nightly.stand_in import SeenView, make_cell

Cells = Callable[..., list[Cell]]
Guesses = Callable[..., dict[str, Expected]]


@pytest.fixture(autouse=True)
def in_front() -> Iterator[None]:
    """Ctrl-C as a terminal's own program has it, however these tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def night(tmp_path: Path, command: tuple[str, ...], guesses: Guesses, room: Cost):
    def start(cells: list[Cell], *seconds: float, state: NightState | None = None, budget: Cost = room, **more):
        state = state or new_state(Path("m.toml"), "m", cells)
        view = SeenView()
        expected = guesses(cells, *(seconds or [1.0] * len(cells)))
        pool = Pool(
            tmp_path, state, cells, expected=expected, budget=budget, minutes=more.pop("minutes", 5), view=view,
            command=command, room=lambda _: more.get("free", budget),
        )  # fmt: skip
        write_state(tmp_path, state)
        return pool, state, view

    return start


def test_each_cell_comes_to_its_own_end(night, cells: Cells, tmp_path: Path) -> None:
    pool, state, _ = night(cells("pass", "fail", "lost", "usage", "kill"))
    pool.run()

    assert [each.exit_code for each in state.cells] == [0, 1, 3, 1, 3]
    assert state.cells[4].reason == "Its run was ended by signal 9 (SIGKILL)."
    assert all(each.stage == "finished" for each in state.cells)
    assert read_state(tmp_path) == state
    assert exit_code(state) == 1


def test_why_a_run_was_refused_is_told_in_its_own_words(night, cells: Cells, tmp_path: Path) -> None:
    script = tmp_path / "refuse.py"
    script.write_text(
        "import sys\nprint('error: There is no such thing.\\nhint: Take another.', file=sys.stderr)\nsys.exit(2)"
    )
    pool, state, _ = night(cells("x"))
    pool._command = (*pool._command[:1], str(script))
    pool.run()

    assert (state.cells[0].exit_code, state.cells[0].reason) == (2, "There is no such thing. Hint: Take another.")
    assert exit_code(state) == 2


def test_a_run_that_ends_well_and_has_run_nothing_is_no_pass(night, cells: Cells) -> None:
    pool, state, _ = night(cells("nothing", "pass"))
    pool.run()

    assert [each.exit_code for each in state.cells] == [2, 0]
    assert state.cells[0].reason == "It ended with 0, and has run no scenario."
    assert exit_code(state) == 2


def test_the_longest_begins_first(night, cells: Cells, room: Cost) -> None:
    pool, _, view = night(
        cells("pass", "pass", "pass"), 5, 50, 20, budget=Cost(cores=1, memory_mib=8192, disk_mib=1 << 20)
    )
    pool.run()

    assert view.begun == ["cell1", "cell2", "cell0"]
    assert view.most_at_once <= 1


@pytest.mark.parametrize(
    ("budget", "at_once"),
    [
        (Cost(cores=2, memory_mib=8192, disk_mib=1 << 20), 2),
        (Cost(cores=8, memory_mib=2000, disk_mib=1 << 20), 1),
        (Cost(cores=8, memory_mib=8192, disk_mib=2100), 1),
    ],
)
def test_no_more_run_at_once_than_the_budget_has_room_for(
    night, cells: Cells, budget: Cost, at_once: int, tmp_path
) -> None:
    """Cells that wait until all that fit have begun: more would be seen, and fewer would wait for ever."""
    pool, state, view = night(cells("wait", "wait", "wait"), budget=budget)
    runner = threading.Thread(target=pool.run)
    runner.start()
    wait_for(
        lambda: len(list(tmp_path.rglob("waits"))) == len(view.begun) == at_once or None, Deadline(60), "cells to wait"
    )
    running = [each.id for each in state.cells if each.stage == "running"]
    pool._waiting.clear()  # before there is room for another
    for each in list(pool._running):
        each.interrupt()
    runner.join(60)

    assert len(running) == at_once
    assert view.most_at_once <= at_once
    assert len(list(tmp_path.rglob("cleared-up"))) == at_once


def test_a_small_cell_passes_one_that_has_to_wait_for_room(night, room: Cost) -> None:
    cells = [make_cell("large", "pass", vcpus=2), make_cell("small", "pass"), make_cell("long", "pass")]
    pool, _, view = night(cells, 10, 5, 100)
    pool.run()

    assert view.begun[:2] == ["long", "small"]  # 'large' needs both cores


def test_interrupted_every_run_clears_up_and_the_next_time_goes_on(
    night, cells: Cells, tmp_path: Path, monkeypatch
) -> None:
    pool, state, view = night(cells("pass", "wait"), 100, 1)

    def interrupt() -> None:
        wait_for(lambda: next(tmp_path.rglob("waits"), None), Deadline(60), "the cell that waits")
        wait_for(lambda: state.cells[0].stage == "finished" or None, Deadline(60), "the cell that passes")
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        pool.run()
    interrupting.join(20)

    assert list(tmp_path.rglob("cleared-up"))
    assert view.stopped == ["cell1"]  # a person is told what is waited for
    assert [each.stage for each in state.cells] == ["finished", "waiting"]
    assert exit_code(state) == 130

    again = cells("pass", "pass")
    pool, state, view = night(again, state=resumed(read_state(tmp_path), again))
    pool.run()
    assert view.begun == ["cell1"]
    assert state.cells[1].folder == "cells/cell1.2"  # what the first try wrote is still there
    assert exit_code(state) == 0


def test_an_interrupt_that_comes_while_an_end_is_noted_ends_the_night(night, cells: Cells, monkeypatch) -> None:
    joined: list[cell_run.CellRun] = []
    join = cell_run.CellRun.join

    def interrupted(run: cell_run.CellRun) -> None:
        joined.append(run)
        if len(joined) == 1:
            raise KeyboardInterrupt
        join(run)

    monkeypatch.setattr(cell_run.CellRun, "join", interrupted)
    pool, state, _ = night(cells("pass"))
    with pytest.raises(KeyboardInterrupt):
        pool.run()

    assert (state.cells[0].stage, state.cells[0].exit_code) == ("finished", 0)


@pytest.mark.parametrize("of_a_shell", [signal.default_int_handler, signal.SIG_IGN], ids=["front", "background"])
def test_one_that_takes_too_long_is_stopped_and_lost(
    night, cells: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_a_shell
) -> None:
    """It clears up, also where a shell has started the night in the background, deaf to Ctrl-C and all below it."""

    class UntilItWaits(Deadline):
        """A cell's time is up once it has come to where it waits, however long that took."""

        @property
        def expired(self) -> bool:
            return any(tmp_path.rglob("waits"))

    given: list[float] = []
    monkeypatch.setattr(cell_run, "Deadline", lambda seconds: given.append(seconds) or UntilItWaits(60))
    signal.signal(signal.SIGINT, of_a_shell)
    pool, state, _ = night(cells("wait"), minutes=0.1)
    pool.run()

    assert given == [6.0]
    assert state.cells[0].exit_code == 3
    assert "did not end within 0.1 minutes" in state.cells[0].reason
    assert state.cells[0].stage == "finished"
    assert list(tmp_path.rglob("cleared-up"))
    assert signal.getsignal(signal.SIGINT) is of_a_shell


def test_a_host_that_is_full_of_other_work_is_waited_for_and_then_told(night, cells: Cells, monkeypatch) -> None:
    monkeypatch.setattr("harness.nightly.pool._ROOM_SECONDS", 0.0)
    pool, state, view = night(cells("pass"), free=Cost(cores=2, memory_mib=10, disk_mib=1 << 20))
    pool.run()

    assert not view.begun
    assert state.cells[0].exit_code == 3
    assert state.cells[0].reason.startswith("The host was full for")
    assert "1280 MiB of memory, of which there are 10" in state.cells[0].reason


def test_what_changed_since_is_run_again_and_what_did_not_is_kept(cells: Cells) -> None:
    before = new_state(Path("m.toml"), "m", cells("pass", "pass", "pass"))
    for each in before.cells:
        each.stage, each.exit_code, each.runs = "finished", 0, 1
    now = [make_cell("cell0", "pass"), make_cell("cell1", "pass", harness="two"), make_cell("cell3", "pass")]

    after = resumed(before, now)

    assert [(each.id, each.stage, each.runs) for each in after.cells] == [
        ("cell0", "finished", 1), ("cell1", "waiting", 1), ("cell3", "waiting", 0),
    ]  # fmt: skip
    assert [each.again for each in after.cells] == ["", "changed since: the harness", ""]


def test_how_long_cells_take_side_by_side(cells: Cells, guesses: Guesses, room: Cost) -> None:
    four = cells("a", "b", "c", "d")

    assert whole_seconds(four, guesses(four, 40, 30, 20, 10), room) == 50
    assert whole_seconds(four, guesses(four, 40, 30, 20, 10), Cost(cores=1, memory_mib=8192, disk_mib=1 << 20)) == 100
