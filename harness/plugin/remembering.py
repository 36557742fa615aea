"""What a run takes from earlier ones and leaves to later ones: known issues, and the history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ConfigError, HarnessError
from harness.history import HistoryStore, KnownIssues, history_path, load_known_issues
from harness.history.known import FILE
from harness.report import Attempt


def find_known_issues(asked: str | None) -> KnownIssues:
    """The list that was asked for, or the one in this folder; an empty one for none. Raises ConfigError."""
    if asked is not None:
        return load_known_issues(Path(asked))
    return load_known_issues(Path(FILE) if Path(FILE).is_file() else None)


def wrong_known_issues(config: pytest.Config) -> str | None:
    """A sentence about a list that cannot be used; None when it can."""
    try:
        find_known_issues(config.getoption("--known-issues"))
    except ConfigError as error:
        return str(error)
    return None


class Remembering:
    """Asked for each failure, and once at the end of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._known = find_known_issues(config.getoption("--known-issues"))
        self._history = history_path(config.getoption("--history"))

    def judge(self, attempt: Attempt) -> Attempt:
        """The attempt, with the reason where its failure is known."""
        reason = self._known.reason_for(attempt.scenario, attempt.guest, attempt.outcome, attempt.message)
        return replace(attempt, known=reason) if reason else attempt

    def keep(self, results: Path, tell: Callable[[str], None]) -> None:
        """Tell what the known issues came to, and take the results into the history; never ends a run."""
        for note in self._known.notes():
            tell(note)
        if self._history is None:
            return
        try:
            with HistoryStore(self._history) as store:
                store.add_run(results)
        except HarnessError as error:
            tell(f"The history has not got this run: {error}")
