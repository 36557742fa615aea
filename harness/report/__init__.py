"""What is left of a run: results.jsonl (the source of truth), JUnit, a folder per scenario, lines in the terminal."""

from __future__ import annotations

from harness.report.folder import ScenarioFolder, slug
from harness.report.junit import write_junit, write_suites
from harness.report.outcome import Outcome, exit_code, outcome_of
from harness.report.results import Attempt, ResultsWriter, last_attempts, read_results
from harness.report.terminal import LiveView

__all__ = [
    "Attempt",
    "LiveView",
    "Outcome",
    "ResultsWriter",
    "ScenarioFolder",
    "exit_code",
    "last_attempts",
    "outcome_of",
    "read_results",
    "slug",
    "write_junit",
    "write_suites",
]
