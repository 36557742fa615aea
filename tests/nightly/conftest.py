"""Cells without machines: a stand-in for `wfp-hil run` that does what its words say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.nightly.budget import Cost
from harness.nightly.cells import Cell
from harness.nightly.estimate import Expected
from tests.nightly.stand_in import make_cell

STAND_IN = Path(__file__).with_name("stand_in_run.py")


@pytest.fixture
def command() -> tuple[str, ...]:
    return sys.executable, str(STAND_IN)


@pytest.fixture
def cells() -> Callable[..., list[Cell]]:
    def make(*words: str, **more: object) -> list[Cell]:
        return [make_cell(f"cell{number}", word, **more) for number, word in enumerate(words)]

    return make


@pytest.fixture
def guesses() -> Callable[..., dict[str, Expected]]:
    """Seconds by cell, in the order of the cells."""

    def make(cells: list[Cell], *seconds: float) -> dict[str, Expected]:
        return {cell.id: Expected(each, 1, 1) for cell, each in zip(cells, seconds, strict=True)}

    return make


@pytest.fixture
def room() -> Cost:
    return Cost(cores=2, memory_mib=8192, disk_mib=1 << 20)
