"""The Wine in which tests run PE programs: what a program says ends when the program does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.wine import WINE_LIBRARIES, throwaway_wine

pytestmark = [pytest.mark.wine, pytest.mark.timeout(600)]


def test_the_output_of_the_first_program_ends_with_it(tmp_path: Path) -> None:
    """Nothing that Wine starts beside it and leaves running holds the pipe from which a test reads."""
    with throwaway_wine(tmp_path) as wine:
        if wine is None:
            pytest.skip("Wine is not installed")
        said = subprocess.run(
            [wine.program, WINE_LIBRARIES / "cmd.exe", "/c", "echo here"],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
            env=wine.environment,
        )
    assert said.stdout.strip() == "here"
