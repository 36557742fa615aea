"""What a page is made of: runs, each one part of it, and what is remembered of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.report.circumstances import Circumstances, circumstances_of
from harness.report.outcome import Outcome
from harness.report.page.changes import Key
from harness.report.results import read_results

Records = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One run: of a night a cell, which `name` and `axes` tell; a run that stands for itself has neither.

    `reason` is why there is nothing of it, or why it ended as it did; `note` says so in a word.
    """

    folder: Path | None
    name: str = ""
    axes: Mapping[str, str] = field(default_factory=dict)
    records: Records = field(default_factory=list)
    note: str = ""
    reason: str = ""
    refused: bool = False
    seconds: float = 0.0

    @property
    def session(self) -> dict[str, Any]:
        """The circumstances, as far as there was a guest."""
        return next((record for record in self.records if record.get("record") == "session"), {})

    @property
    def circumstances(self) -> Circumstances:
        """NIC, verifier, firewall and processors."""
        return circumstances_of(self.session)

    @property
    def ended(self) -> bool:
        """Whether the run came to its end by itself."""
        return any(record.get("record") == "end" for record in self.records)

    def key(self, record: Mapping[str, Any]) -> Key:
        """By what a result is found in another run."""
        return str(record.get("scenario", "")), self.name or str(record.get("guest", ""))

    def attempts(self) -> dict[Key, Records]:
        """All attempts by scenario, in their order."""
        found: dict[Key, Records] = {}
        for record in self.records:
            if record.get("record") == "result" and record.get("outcome") in tuple(Outcome):
                found.setdefault(self.key(record), []).append(record)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPast:
    """When a crash of one signature was seen, over all history; times as the results have them."""

    first: str
    last: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioPast:
    """What is remembered of a scenario on a kind of guest under the same circumstances.

    Its flake rate's two numbers, and its last outcomes.
    """

    flaked: int
    comparable: int
    recent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A known failure as its list has it."""

    scenario: str
    guest: str
    reason: str
    expires: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What earlier runs say; `crashes` by signature, `scenarios` by name, guest and circumstances."""

    crashes: Mapping[str, CrashPast] = field(default_factory=dict)
    scenarios: Mapping[tuple[str, str, Circumstances], ScenarioPast] = field(default_factory=dict)
    quarantine: tuple[Quarantine, ...] = ()


def read_part(run: Path) -> Part:
    """A run as the only part of a page. Raises UsageError when the folder holds no results."""
    path = run / "results.jsonl"
    try:
        return Part(folder=run, records=read_results(path))
    except OSError as error:
        raise UsageError(
            f"There are no results at '{path}': {error.strerror}.", hint="Give the folder of a run, such as out/<run>."
        ) from error
