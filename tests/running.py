"""`wfp-hil run` as its user starts it, and what it wrote down."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.process import run
from harness.waiting import Deadline

ROOT = Path(__file__).parents[1]
WFP_HIL = Path(sys.executable).parent / "wfp-hil"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run that has ended, well or not."""

    exit_code: int
    text: str
    """What the terminal showed: standard output, then standard error."""
    out: Path

    @property
    def results(self) -> list[dict[str, Any]]:
        """Its attempts, in the order in which they ended; a run that never began has no file of them."""
        assert (self.out / "results.jsonl").is_file(), self.text[-5000:]
        return results_of(self.out)

    @property
    def by_name(self) -> dict[str, dict[str, Any]]:
        """The last attempt of each scenario, by its name behind the file's."""
        return {record["scenario"].partition("::")[2]: record for record in self.results}


def run_scenarios(out: Path, *words: str | Path, seconds: float, **variables: str) -> FinishedRun:
    """Run scenarios into `out`, whatever comes of them; `variables` are of the environment."""
    argv = [WFP_HIL, "run", "--out", out, *words]
    done = run(argv, cwd=ROOT, env={**os.environ, **variables}, deadline=Deadline(seconds), check=False)
    return FinishedRun(exit_code=done.exit_code, text=done.stdout + done.stderr, out=out)


def results_of(out: Path) -> list[dict[str, Any]]:
    """The attempts that a run which has ended wrote down, every line of them whole."""
    records = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return [record for record in records if record["record"] == "result"]
