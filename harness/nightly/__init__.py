"""The nightly run: a matrix of guests, NICs, drivers and settings, each cell a `wfp-hil run` of its own."""

from __future__ import annotations

from harness.nightly.budget import budget_of, free_room
from harness.nightly.cells import Cell, expand, require_host
from harness.nightly.estimate import experience
from harness.nightly.matrix import Matrix, load_matrix
from harness.nightly.night import before, cell_seconds, open_night, planned
from harness.nightly.pool import Pool
from harness.nightly.results import exit_code, write_reports
from harness.nightly.state import now, write_state
from harness.nightly.table import NightView, show_end, show_plan

__all__ = [
    "Cell",
    "Matrix",
    "NightView",
    "Pool",
    "before",
    "budget_of",
    "cell_seconds",
    "exit_code",
    "expand",
    "experience",
    "free_room",
    "load_matrix",
    "now",
    "open_night",
    "planned",
    "require_host",
    "show_end",
    "show_plan",
    "write_reports",
    "write_state",
]
