"""The model's engine as a driver of sequences: build/sequence.exe under Wine."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.oracle import Call, Observed, Step
from harness.oracle.operations import At, Send, SendAsProxy
from harness.wfp import status_name

SECONDS = 100  # for a sequence; the first one waits for Wine as well


class Engine:
    """One process; each sequence begins with everything as at the start."""

    def __init__(self, program: Path, wine: Any) -> None:
        self._argv = [wine.program, program]
        self._wine = wine
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._wine.environment,
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, steps: Sequence[Step]) -> list[Observed]:
        """What came of each step; an engine that falls over is started anew."""
        try:
            return self._run(steps)
        except (OSError, EOFError):
            self.close()
            self._start()
            raise AssertionError("the engine ended in the middle of the sequence") from None

    def _run(self, steps: Sequence[Step]) -> list[Observed]:
        assert self._process.stdin
        lines = "".join(f"{step.operation.words()}\n" for step in steps)
        guard = threading.Timer(SECONDS, self._process.kill)
        guard.start()
        try:
            self._process.stdin.write(f"Reset\n{lines}".encode())
            self._process.stdin.flush()
            self._answer()
            return [_observed(step, self._answer()) for step in steps]
        finally:
            guard.cancel()

    def _answer(self) -> list[list[str]]:
        """The lines of one step, in words."""
        assert self._process.stdout
        lines = []
        while True:
            line = self._process.stdout.readline().decode()
            if not line:
                raise EOFError
            lines.append(line.split())
            if line.startswith("="):
                return lines


def _observed(step: Step, lines: list[list[str]]) -> Observed:
    numbers = [(words[0], [int(word, 16 if words[0] == "=" else 10) for word in words[1:]]) for words in lines]
    sends = isinstance(step.operation, Send | SendAsProxy)
    wire = [n[0] for word, n in numbers if word == "wire"]
    return Observed(
        status=status_name(numbers[-1][1][0]),
        calls=tuple(Call(At(n[0]), n[1], bool(n[2]), n[3], n[4], n[5]) for word, n in numbers if word == "call"),
        passed=bool(wire) if sends else None,
        to=wire[0] if wire else None,
        deleted=tuple((n[0], n[1], n[2]) for word, n in numbers if word == "deleted"),
    )
