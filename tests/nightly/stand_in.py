"""Cells, and a view that only remembers."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config import Profile, load_profile
from harness.nightly.cell_run import CellRun
from harness.nightly.cells import Cell
from harness.nightly.matrix import AXES
from harness.nightly.state import CellState


def make_cell(name: str, word: str, *, vcpus: int = 1, refused: str = "", harness: str = "one") -> Cell:
    axes = dict.fromkeys(AXES, "") | {"guest": name}
    profile: Profile = load_profile("reference").with_vcpus(vcpus)
    return Cell(
        axes=tuple(axes.items()), profile=profile, words=(word,), scenarios=("scenarios/a.py::test_it",), machines=1,
        refused=refused, made_of={"harness": harness},
    )  # fmt: skip


class SeenView:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[CellState] = []
        self.most_at_once = 0
        self.stopped: list[str] = []

    def begin(self, run: CellRun) -> None:
        self.begun.append(run.cell.id)

    def end(self, run: CellRun, state: CellState) -> None:
        self.ended.append(state.model_copy())

    def stop(self, running: Sequence[CellRun]) -> None:
        self.stopped = [run.cell.id for run in running]

    def tick(self, running: Sequence[CellRun], waiting: Sequence[Cell]) -> None:
        self.most_at_once = max(self.most_at_once, len(running))
