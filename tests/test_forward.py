"""The scenarios of forwarding, in a reference guest with two test NICs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.process import run
from harness.waiting import Deadline

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]


def test_a_guest_with_two_nics_forwards(tmp_path: Path) -> None:
    """Elsewhere these scenarios are skipped: here every one passes, and both links are captured."""
    profile, out = ROOT / "vm-images" / "reference" / "two-nics.toml", tmp_path / "out"

    done = run(
        [Path(sys.executable).parent / "wfp-hil", "run", "--guest", profile, "--out", out, "scenarios/forward"],
        cwd=ROOT,
        deadline=Deadline(1100),
        check=False,
    )

    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    results = [record for record in records if record["record"] == "result"]
    assert [record["outcome"] for record in results] == ["PASS"] * 6, (done.stdout + done.stderr)[-4000:]
    assert all((Path(record["folder"]) / "far-frames.pcapng").is_file() for record in results)
    told = [(Path(record["folder"]) / "timeline.txt").read_text() for record in results]
    assert all(" far     far frame 1 " in text for text in told)
    assert done.exit_code == 0
