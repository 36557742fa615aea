"""What scenarios came to in earlier runs, in one SQLite file; and the failures that are known."""

from __future__ import annotations

from harness.history.known import KnownIssue, KnownIssues, load_known_issues
from harness.history.memory import crashes_of, memory_of
from harness.history.record import Past, Record, gather
from harness.history.store import HistoryStore, history_path

__all__ = [
    "HistoryStore",
    "KnownIssue",
    "KnownIssues",
    "Past",
    "Record",
    "crashes_of",
    "gather",
    "history_path",
    "load_known_issues",
    "memory_of",
]
