"""What a run is told: the records, the live view and the exit code. One of them a run, however many machines it has."""

from __future__ import annotations

import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Protocol

import pytest

from harness.errors import HarnessError, UsageError
from harness.plugin.remembering import Remembering
from harness.report import Attempt, LiveView, Outcome, ResultsWriter, exit_code, last_attempts, write_junit
from harness.steps import StepEvent


class Teller(Protocol):
    """What the side that runs scenarios tells: to the ledger itself, or through a worker's line to it."""

    def session(self, facts: dict[str, object]) -> None:
        """A guest is ready; the circumstances."""

    def refuse(self, error: HarnessError) -> None:
        """No guest could be had: this ends the run."""

    def begin(self, scenario: str, attempt: int) -> None:
        """A scenario begins."""

    def result(self, attempt: Attempt) -> None:
        """An attempt at a scenario has ended."""

    def give_back(self, scenario: str, cause: str) -> bool:
        """This machine runs nothing any more, because of this; False when there is no other one."""

    def misuse(self, error: UsageError) -> None:
        """A scenario asked for what does not exist: this decides the exit code."""

    def step(self, event: StepEvent) -> None:
        """A step began or ended."""

    def end(self, exitstatus: int) -> int:
        """Nothing comes any more; the exit code of pytest."""


class Ledger:
    """Writes everything down before it shows it; may be told by several threads."""

    def __init__(self, out: Path, view: LiveView, facts: dict[str, object], past: Remembering) -> None:
        self.view = view
        self._past = past
        self._out = out
        self._lock = threading.RLock()  # guards the five below: what is written and what is shown go together
        self._results = ResultsWriter(out / "results.jsonl")
        self._facts = facts
        self._session_told = False
        self._errors: list[BaseException] = []
        self._refused: HarnessError | None = None

    def session(self, facts: dict[str, object]) -> None:
        """The first machine's circumstances stand for all: they differ in how each was booted at most."""
        with self._lock:
            if not self._session_told:
                self._facts |= facts
                self._results.session(**self._facts)
                self._session_told = True

    def refuse(self, error: HarnessError) -> None:
        """The first refusal is the one that is shown."""
        with self._lock:
            self._errors.append(error)
            if self._refused is None:
                self._refused = error
                self._results.session(**self._facts, error=str(error), error_type=type(error).__name__)

    def begin(self, scenario: str, attempt: int) -> None:
        """A scenario begins."""
        with self._lock:
            self._results.start(scenario, attempt)
            self.view.begin(scenario)

    def result(self, attempt: Attempt) -> None:
        """An attempt at a scenario has ended."""
        with self._lock:
            attempt = self._past.judge(attempt)
            self._results.result(attempt)
            self.view.result(attempt)

    def give_back(self, scenario: str, cause: str) -> bool:  # noqa: ARG002
        """There is one machine."""
        return False

    def misuse(self, error: UsageError) -> None:
        """A scenario asked for what does not exist."""
        with self._lock:
            self._errors.append(error)

    def step(self, event: StepEvent) -> None:
        """A step began or ended."""
        self.view.step(event)

    def end(self, exitstatus: int) -> int:
        """Close the results; the exit code of pytest."""
        with self._lock:
            self.view.stop()
            attempts = self._results.attempts
            if attempts and self._facts.get("control") == "none" and {a.outcome for a in attempts} == {Outcome.SKIP}:
                self._errors.append(UsageError("Every scenario needs the control interface, which the driver has not."))
            code = exitstatus
            if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                counted = (attempt.outcome for attempt in last_attempts(attempts) if not attempt.known)
                ours = exit_code(counted, self._errors)
                others_failed = exitstatus == pytest.ExitCode.TESTS_FAILED and not attempts
                code = ours or int(others_failed)
            elif self._refused is not None:
                code = self._refused.exit_code
            self._results.end(code)
            self._results.close()
            with suppress(OSError) if self._results.broken else nullcontext():
                write_junit(self._out / "junit.xml", attempts, self._facts)
            if self._results.broken is not None:
                self._refused, code = self._refused or self._results.broken, code or self._results.broken.exit_code
            self._past.keep(self._results.path, self.view.tell)
            self.view.summary(attempts, str(self._facts["guest"]), str(self._out), self._refused)
            return code
