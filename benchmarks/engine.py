"""What the benchmarks of the model's engine share: its programs, and Wine to run them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.ownership import temporary_folder
from tests.wine import Wine, throwaway_wine

MODEL = Path(__file__).parents[1] / "vm-images" / "reference" / "model"


def built(program: str) -> Path:
    """One of the programs of the model's Makefile, built."""
    subprocess.run(["make", "-s", "-C", str(MODEL), f"build/{program}"], check=True, stdout=subprocess.DEVNULL)
    return MODEL / "build" / program


@contextmanager
def engine_wine() -> Iterator[Wine]:
    """Wine; a benchmark that needs it says so where there is none."""
    with temporary_folder("bench") as folder, throwaway_wine(folder) as wine:
        assert wine is not None, "no wine64 on this host: apt-get install wine64"
        yield wine


def run(wine: Wine, program: Path, *arguments: str, stdin: bytes = b"") -> str:
    """What the program said; AssertionError with its last words where it did not end well."""
    done = subprocess.run(
        [wine.program, program, *arguments], input=stdin, capture_output=True, check=False, env=wine.environment
    )
    said = done.stdout.decode()
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}: {said[-2000:]}"
    return said
