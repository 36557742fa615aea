"""The scenarios of forwarding, in a reference guest with two test NICs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running import ROOT, run_scenarios

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]


def test_a_guest_with_two_nics_forwards(tmp_path: Path) -> None:
    """Elsewhere these scenarios are skipped: here every one passes, and both links are captured."""
    profile = ROOT / "vm-images" / "reference" / "two-nics.toml"

    done = run_scenarios(tmp_path / "out", "--guest", profile, "scenarios/forward", seconds=1100)

    results = done.results
    assert [record["outcome"] for record in results] == ["PASS"] * 6, done.text[-4000:]
    assert all((Path(record["folder"]) / "far-frames.pcapng").is_file() for record in results)
    told = [(Path(record["folder"]) / "timeline.txt").read_text() for record in results]
    assert all(" far     far frame 1 " in text for text in told)
    assert done.exit_code == 0
