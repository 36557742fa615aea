"""What tests need built: one make at a time in a folder, whichever of the tests that run side by side asks for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.waiting import Deadline, lock

_SECONDS = 600.0


@contextmanager
def nobody_builds(folder: Path) -> Iterator[None]:
    """A block in which no build in `folder` begins or is under way, neither of a test nor of the harness itself."""
    (folder / "build").mkdir(exist_ok=True)
    with (folder / "build" / ".lock").open("w") as file:
        lock(file, Deadline(_SECONDS), f"another build in '{folder}' to end")
        yield


def build(folder: Path, *targets: str) -> None:
    """Have the Makefile of `folder` make these targets, or its first one."""
    with nobody_builds(folder):
        done = subprocess.run(
            ["make", "-s", "-C", folder, *targets],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
