"""What a run takes from earlier ones and leaves to later ones: known issues, and the history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.history import HistoryStore, KnownIssues, history_path, load_known_issues
from harness.history.known import FILE
from harness.report import Outcome


def add_options(group: pytest.OptionGroup) -> None:
    """Declare what a run can be told about its past."""
    group.addoption(
        "--history", metavar="FILE", help="SQLite file of all runs, or 'off' (default: under the user's state folder)"
    )
    group.addoption(
        "--known-issues", metavar="FILE", help=f"TOML list of failures that are known (default: {FILE}, if it is there)"
    )


def find_known_issues(asked: str | None) -> KnownIssues:
    """The list that was asked for, or the one in this folder; an empty one for none. Raises ConfigError."""
    if asked is not None:
        return load_known_issues(Path(asked))
    return load_known_issues(Path(FILE) if Path(FILE).is_file() else None)


class Remembering:
    """Asked for each failure, and once at the end of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._known = find_known_issues(config.getoption("--known-issues"))
        self._history = history_path(config.getoption("--history"))

    def reason_for(self, scenario: str, guest: str, outcome: Outcome, message: str) -> str:
        """Why this failure is known; empty where it is not."""
        return self._known.reason_for(scenario, guest, outcome, message)

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
