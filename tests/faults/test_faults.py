"""Each fault of the host on a real machine: LOST with its cause, a second attempt that passes, and nothing left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.ground import run_there
from tests.faults.table import FAULTS, Fault, is_told
from tests.running import WFP_HIL, results_of

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk and a memory cgroup need root"),
]


class Finished:
    def __init__(self, folder: Path) -> None:
        out = folder / "out"
        inside = shutil.copy(Path(__file__).with_name("inside.py"), folder / "test_inside.py")
        self.run, self.left = run_there(folder, WFP_HIL, "run", "--machines", "1", "--out", out, inside)
        self.text = self.run.stdout + self.run.stderr
        self.records = results_of(out)

    def attempts(self, fault: Fault) -> list[dict[str, str]]:
        return [record for record in self.records if f"[{fault.name}]" in record["scenario"]]


@pytest.fixture(scope="module")
def finished(open_folder: Path) -> Finished:
    return Finished(open_folder)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_of_the_host_is_told_and_the_scenario_passes_in_its_second_attempt(
    finished: Finished, fault: Fault
) -> None:
    outcomes = [record["outcome"] for record in finished.attempts(fault)]
    if outcomes == ["SKIP"]:
        pytest.skip(finished.attempts(fault)[0]["message"])
    assert outcomes == (["PASS"] if fault.harmless else ["LOST", "PASS"]), finished.text[-8000:]
    assert is_told(fault, finished.attempts(fault)[0]["message"]), finished.attempts(fault)[0]["message"]


def test_all_scenarios_passed_in_the_end_so_the_run_did(finished: Finished) -> None:
    assert finished.run.exit_code == 0, finished.text[-5000:]


def test_nothing_is_left(finished: Finished) -> None:
    assert finished.left == {"clean": ["clean: nothing was left behind"], "state": ["accelerator.json"], "domains": []}
