"""What a person sees of a night while it runs: whole names and counts on a narrow terminal, and lines without one."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.nightly.budget import Cost
from harness.nightly.cell_run import Progress
from harness.nightly.cells import Cell
from harness.nightly.estimate import Expected
from harness.nightly.matrix import AXES
from harness.nightly.state import new_state
from harness.nightly.table import NightView, short_names, show_end, show_plan
from tests.nightly.stand_in import make_cell

ROOM = Cost(cores=2, memory_mib=8192, disk_mib=1 << 20)


def cell_of(**labels: str) -> Cell:
    whole = {"guest": "windows-server-2025", "nic": "e1000e", "driver": "checked", "scenarios": "redirect"}
    axes = dict.fromkeys(AXES, "") | whole | labels
    cell = make_cell("x", "pass")
    return Cell(
        axes=tuple(axes.items()), profile=cell.profile, words=(), scenarios=cell.scenarios, machines=1, made_of={}
    )


CELLS = [cell_of(), cell_of(nic="igb"), cell_of(verifier="standard"), cell_of(nic="igb", verifier="standard")]
EXPECTED = {cell.id: Expected(90.0, 0, 1) for cell in CELLS}


def running(cell: Cell, doing: str = "scenarios/a.py::test_that_has_a_name_which_no_terminal_is_wide_enough_for"):
    progress = SimpleNamespace(
        running=[doing], counts=Counter({"PASS": 12, "FAIL": 3, "CRASH": 1}), done=16, has_guest=True
    )
    return SimpleNamespace(cell=cell, progress=progress)


def test_cells_are_told_apart_by_what_they_differ_in() -> None:
    assert list(short_names(CELLS).values()) == ["e1000e", "igb", "e1000e+standard", "igb+standard"]
    assert short_names(CELLS[:2]) == {CELLS[0].id: "e1000e", CELLS[1].id: "igb"}
    assert short_names(CELLS[:1]) == {CELLS[0].id: CELLS[0].id}
    # Where an axis was left out in one of two, that one has nothing else to be called by.
    assert short_names([CELLS[0], CELLS[2]])[CELLS[0].id] == CELLS[0].id


def test_what_has_no_guest_yet_prepares_it(tmp_path: Path) -> None:
    """A run writes that its first scenario begins, and boots its guest then."""
    progress = Progress(tmp_path / "results.jsonl")
    view = NightView(Console(), CELLS, EXPECTED, ROOM)
    run = SimpleNamespace(cell=CELLS[0], progress=progress)
    view.begin(run)
    said = []
    for more in ('{"record": "start", "scenario": "a.py::test_it"}', '{"record": "session", "guest": "reference"}'):
        with (tmp_path / "results.jsonl").open("a") as file:
            file.write(more + "\n")
        progress.refresh()
        console = Console(width=120, file=io.StringIO())
        console.print(view._table([run], []))
        said.append(console.file.getvalue())

    assert "prepares its guest" in said[0]
    assert "nothing ran" not in said[0] + said[1]
    assert " it " in said[1]


@pytest.mark.parametrize("width", [80, 140])
def test_names_and_counts_are_whole_and_what_runs_now_is_cut(width: int) -> None:
    said = io.StringIO()
    console = Console(file=said, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    view = NightView(console, CELLS, EXPECTED, ROOM)
    for each in CELLS[:2]:
        view.begin(running(each))
    said.truncate(said.seek(0))

    console.print(view._table([running(each) for each in CELLS[:2]], CELLS[2:]))

    lines = [line for line in said.getvalue().splitlines() if line.strip()]
    rows = {line.split()[0]: line for line in lines}
    for name in short_names(CELLS).values():
        assert name in rows
    assert "16/1" in rows["igb"]
    assert "12 PASS 3 FAIL 1 CRASH" in rows["igb"]
    assert " that_has_a_name" in rows["igb"]
    assert rows["igb"].rstrip().endswith("…") == (width == 80)
    assert max(map(len, lines)) < width  # nothing in the last column, behind which some terminals begin a line
    assert len(lines) == 1 + 4 + 1


def test_without_a_terminal_there_is_a_line_for_each_thing_that_happens(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=60, force_terminal=False)
    view = NightView(console, CELLS, EXPECTED, ROOM)
    state = new_state(Path("m.toml"), "m", CELLS)
    with view.shown():
        for each in CELLS[:2]:
            view.begin(running(each))
        view.tick([running(CELLS[0])], CELLS[2:])
        state.cells[0].stage, state.cells[0].exit_code, state.cells[0].seconds = "finished", 1, 63.0
        view.end(running(CELLS[0]), state.cells[0])
        view.stop([running(CELLS[1])])
    show_end(console, state)
    show_plan(console, CELLS, state, EXPECTED, ROOM)

    lines = capsys.readouterr().out.splitlines()
    whole = [line.split(maxsplit=2)[2] for line in lines[:4]]
    assert whole == [
        f"begins  {CELLS[0].id}, expected 90 s",
        f"begins  {CELLS[1].id}, expected 90 s",
        f"the driver failed  {CELLS[0].id}: 63 s, 12 PASS 3 FAIL 1 CRASH",
        "interrupted: the run takes its machine away, which may take a minute",
    ]
    assert lines[4] == "4 cells: 3 interrupted, 1 the driver failed"
