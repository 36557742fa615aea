"""The demonstration on a real guest: a fault that a certain sequence triggers, from thousands of packets to a few."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.capture import Capture
from harness.minimise.builds import find_builds
from harness.minimise.criterion import parse_criterion
from harness.minimise.kept import CAPTURE, SCENARIO
from harness.plugin.bisecting import bisect_on_guests
from harness.plugin.minimising import Wish, minimise_on_guests
from harness.plugin.options import RunOptions
from harness.reproduce import Settings
from tests.minimise.field import field_capture
from tests.minimise.planted.builds import FIRST_BAD, REFUSING, build_series, can_build
from tests.running import run_scenarios

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(2700),
    pytest.mark.skipif(not can_build(), reason="mingw-w64 is not installed"),
]


class Silent:
    """A search that tells nothing."""

    def begun(self, trials: object) -> None: ...

    def reproduced(self, words: str) -> None: ...

    def stage(self, name: str, best: Capture) -> None: ...

    def tried(self, told: object, tries: object) -> None: ...

    def better(self, best: Capture) -> None: ...


def options(out: Path, driver: Path | None) -> RunOptions:
    return RunOptions(guest="reference", driver=driver, nic=None, fresh="test", reuse_boot=True, out=out)


def test_a_planted_fault_is_minimised_written_down_and_bisected(open_folder: Path) -> None:
    """Fewer than ten packets, a scenario that crashes by itself, and the first bad one of sixteen builds."""
    capture = field_capture(connections=120, culprit=72)  # benchmarks/minimise.py tells how long it takes
    assert len(capture) > 3000
    wish = Wish(criterion=parse_criterion("crash and code == 0x139"), settings=Settings(), repeat=1, votes=1)
    bad = build_series(open_folder / "drivers")[FIRST_BAD - 1]

    found = minimise_on_guests(capture, open_folder / "field.pcapng", options(open_folder / "out", bad), wish, Silent())

    assert len(found.capture) < 10
    assert found.confirmed == "3 of 3 attempts"
    assert found.verdict.crash is not None
    assert found.verdict.crash.symbol == "release_ledger"
    assert (open_folder / "out" / CAPTURE).is_file()

    words = ("--driver", bad, "--machines", "1", open_folder / "out" / SCENARIO)
    done = run_scenarios(open_folder / "run", *words, seconds=600)
    assert [result["outcome"] for result in done.results] == ["CRASH"], done.text[-4000:]
    assert "release_ledger" in done.results[0]["message"]
    assert done.exit_code == 1

    finding = bisect_on_guests(
        found.capture, find_builds(open_folder / "drivers"), options(open_folder / "bisect", None), wish
    )
    assert [one.order for one in finding.skipped] == [f"version 0.1.{REFUSING}.0"]
    assert finding.last_good.order == f"version 0.1.{FIRST_BAD - 1}.0"
    assert [one.order for one in finding.suspects] == [f"version 0.1.{FIRST_BAD}.0"]
