"""Another NIC than the profile's: what depends on the NIC's model is seen there, where e1000e cannot show it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.process import run
from harness.waiting import Deadline

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


def test_a_guest_with_a_virtio_nic_runs_scenarios_and_notices_its_cable(tmp_path: Path) -> None:
    """The scenario of the cable is skipped with e1000e, which does not tell its guest (QEMU 7.2)."""
    out = tmp_path / "out"

    done = run(
        [Path(sys.executable).parent / "wfp-hil", "run", "--nic", "virtio-net-pci", "--machines", "1", "--out", out,
         "scenarios/wire/test_carrier.py",
         "scenarios/redirect/test_redirect.py::test_data_flows_both_ways_through_a_redirection"],
        cwd=ROOT, deadline=Deadline(800), check=False,
    )  # fmt: skip

    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    results = [record for record in records if record["record"] == "result"]
    outcomes = {record["scenario"].partition("::")[2]: record["outcome"] for record in results}
    assert set(outcomes.values()) == {"PASS"}, (done.stdout + done.stderr)[-4000:]
    assert "test_the_guest_notices_its_cable" in outcomes
    assert {record["nic"] for record in records if record["record"] == "session"} == {"virtio-net-pci"}
    assert done.exit_code == 0
