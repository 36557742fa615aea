"""Frames that nobody would send, and many threads at once, against the engine with its assertions on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.building import build
from tests.wine import Wine

from .frames import Framed, corpus, frames, pack

MODEL = Path(__file__).parents[2] / "vm-images" / "reference" / "model"
MUTATED = 20_000
STRESS_SECONDS = 5

pytestmark = [
    pytest.mark.wine,
    pytest.mark.timeout(900),  # the first one compiles the engine
    pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="mingw-w64 is not installed"),
]


class Engine:
    """`engine_fuzz serve`, started again after it broke."""

    def __init__(self, wine: Wine) -> None:
        self._argv = [wine.program, MODEL / "build" / "engine_fuzz.exe", "serve"]
        self._environment = wine.environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.communicate(timeout=100)
            self._process = None

    def take(self, batch: list[Framed]) -> str:
        """Sends the frames; "done", or what the engine said before it ended."""
        if not self._process:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
            )
        stdin, stdout = _pipes(self._process)
        try:
            stdin.write(pack([frame for frame in batch if frame[1]]) + bytes(5))
            stdin.flush()
        except BrokenPipeError:
            pass
        said = stdout.readline().decode().strip()
        if said == "done":
            return said
        rest = stdout.read().decode()
        self._process.wait(timeout=100)
        self._process = None
        return f"{said}\n{rest}"


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


@pytest.fixture(scope="module")
def engine(wine: Wine) -> Iterator[Engine]:
    """The engine with a guard page behind each block, and a callout at every layer that looks at all it is shown."""
    build(MODEL, "checked")
    with Engine(wine) as started:
        yield started


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(frames(), min_size=1, max_size=12))
def test_no_frame_breaks_the_engine(engine: Engine, batch: list[Framed]) -> None:
    """Whatever frames come, from the link or the guest, the engine is there afterwards."""
    assert engine.take(batch) == "done"


def test_frames_and_lists_changed_at_random_do_not_break_the_engine(engine: Engine, wine: Wine) -> None:
    """Ordinary frames with bytes, lengths and fragments changed, and lists of a driver whose lengths are lies."""
    argv = [wine.program, MODEL / "build" / "engine_fuzz.exe", "mutate", str(MUTATED), "1"]
    done = subprocess.run(
        argv, input=pack(corpus()), capture_output=True, timeout=600, check=False, env=wine.environment
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said[-3000:]
    figures = dict(reversed(figure.split(" ", 1)) for figure in said.strip().split(", "))
    assert int(figures["frames"]) >= MUTATED
    assert all(int(figures[name]) for name in ("odd segments", "indications", "injected into them", "let in"))


def test_every_check_of_the_engine_holds_with_guard_pages(engine: Engine, wine: Wine) -> None:
    """The checks by rule again, with the assertions on: nothing is read or written that is not the engine's."""
    argv = [wine.program, MODEL / "build" / "engine_guarded.exe"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False, env=wine.environment)
    wrong = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert wrong == ["0 failures"], "\n".join(wrong[-20:])


def test_many_threads_do_not_break_the_engine(engine: Engine, wine: Wine) -> None:
    """Packets on three threads and edited streams on two, while all that concerns them comes and goes."""
    argv = [wine.program, MODEL / "build" / "engine_stress.exe", str(STRESS_SECONDS), "1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False, env=wine.environment)
    assert done.returncode == 0, done.stdout[-3000:]
    figures = dict(reversed(figure.split(" ", 1)) for figure in done.stdout.strip().split(", "))
    assert all(
        int(figures[name])
        for name in (
            "conversations",
            "rounds of changes",
            "filters",
            "contexts deleted",
            "injections",
            "put off",
            "streams to their end",
            "edits",
            "held back",
            "let in",
            "changes of stream filters",
        )
    )
