"""Another NIC than the profile's: what depends on the NIC's model is seen there, where e1000e cannot show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report import read_results
from tests.running import run_scenarios

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


def test_a_guest_with_a_virtio_nic_runs_scenarios_and_notices_its_cable(tmp_path: Path) -> None:
    """The scenario of the cable is skipped with e1000e, which does not tell its guest (QEMU 7.2)."""
    out = tmp_path / "out"
    redirect = "scenarios/redirect/test_redirect.py::test_data_flows_both_ways_through_a_redirection"
    words = ("--nic", "virtio-net-pci", "--machines", "1", "scenarios/wire/test_carrier.py", redirect)

    done = run_scenarios(out, *words, seconds=800)

    assert {record["outcome"] for record in done.results} == {"PASS"}, done.text[-4000:]
    assert "test_the_guest_notices_its_cable" in done.by_name
    records = read_results(out / "results.jsonl")
    assert {record["nic"] for record in records if record["record"] == "session"} == {"virtio-net-pci"}
    assert done.exit_code == 0
