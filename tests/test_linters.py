"""Format, lint and types are part of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.process import run

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(600)  # the types of all modules, which nobody has looked at before
@pytest.mark.parametrize(
    "words",
    [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"]],
    ids=["format", "lint", "types"],
)
def test_linter_is_content(words: list[str]) -> None:
    done = run([Path(sys.executable).parent / words[0], *words[1:]], cwd=ROOT, check=False)
    assert done.exit_code == 0, done.stdout + done.stderr
