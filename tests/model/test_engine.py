"""The filter engine's own checks, run by Wine without a VM: one test a check of engine_test.c."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

MODEL = Path(__file__).parents[2] / "vm-images" / "reference" / "model"

pytestmark = [
    pytest.mark.wine,
    pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="mingw-w64 is not installed"),
]


def test_every_check_of_the_engine_holds(wine: Any) -> None:
    """Objects, transactions, arbitration, flows, injection and redirection behave as their rules say."""
    subprocess.run(["make", "-C", str(MODEL), "check"], check=True, capture_output=True)
    done = subprocess.run(
        [wine.program, MODEL / "build" / "engine_test.exe"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=wine.environment,
    )
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("FAILED")]
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, f"exit code {done.returncode}; output: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    assert sum(line.startswith("ok ") for line in lines) > 240, done.stdout
