"""The harness killed at random moments, and two harnesses on one host; more kills: `python -m benchmarks.chaos`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.chaos import SCENARIOS, chaos
from harness.process import run, start
from harness.waiting import Deadline, wait_for
from tests.running import ROOT, WFP_HIL, results_of

RUN_SECONDS = 600

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


def test_nothing_is_left_of_killed_harnesses_and_the_next_run_works() -> None:
    assert chaos(3, seed=20, builds=False, first=15.0) == []


def test_two_runs_and_a_clean_do_not_disturb_each_other(tmp_path: Path) -> None:
    outs = [tmp_path / "first", tmp_path / "second"]
    with ExitStack() as stack:
        logs = [stack.enter_context((tmp_path / f"{out.name}.txt").open("wb")) for out in outs]
        runs = [
            stack.enter_context(
                start(
                    [WFP_HIL, "run", "--machines", "1", "--out", out, *SCENARIOS],
                    cwd=ROOT,
                    stdout=log.fileno(),
                    stderr=log.fileno(),
                )
            )
            for out, log in zip(outs, logs, strict=True)
        ]

        def ended() -> bool | None:
            run([WFP_HIL, "clean"], cwd=ROOT, deadline=Deadline(60))
            return True if all(one.poll() is not None for one in runs) else None

        wait_for(ended, Deadline(RUN_SECONDS), "both runs to end", interval=1.0)

    for out, one in zip(outs, runs, strict=True):
        said = (tmp_path / f"{out.name}.txt").read_text()
        outcomes = [record["outcome"] for record in results_of(out)]
        assert one.returncode == 0, said[-3000:]
        assert len(outcomes) >= 2
        assert set(outcomes) == {"PASS"}, said[-3000:]
