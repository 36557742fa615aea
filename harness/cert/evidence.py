"""What runs have shown of each requirement, by scenario and guest; those of other builds of the driver do not count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.config import GuestKind, known_profiles, load_profile
from harness.errors import ConfigError, UsageError
from harness.report import Outcome, read_results
from harness.report.coverage import collect_marks


class Where(StrEnum):
    """On what a scenario ran. A pass in the reference guest says nothing final: only Windows is Windows."""

    WINDOWS = "Windows"
    REFERENCE = "reference guest"
    UNKNOWN = "another guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The last attempt at one scenario on one guest; `folder` is that of its records, None where it is gone."""

    scenario: str
    requirements: tuple[str, ...]
    title: str
    outcome: Outcome
    guest: str
    where: Where
    message: str
    started: str
    run: Path
    folder: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A scenario that is marked with requirements, whether it has run or not."""

    scenario: str
    requirements: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it. Left out and counted are attempts by runs with another file of the driver (`other_builds`), and
    scenarios that their file has no more (`gone`)."""

    seen: tuple[Seen, ...]
    planned: tuple[Planned, ...]
    other_builds: int
    gone: int = 0

    def of(self, requirement: str) -> tuple[Seen, ...]:
        """What was seen of a requirement."""
        return tuple(each for each in self.seen if requirement in each.requirements)

    def planned_for(self, requirement: str) -> tuple[Planned, ...]:
        """The scenarios that speak to a requirement."""
        return tuple(each for each in self.planned if requirement in each.requirements)

    def not_run_for(self, requirement: str) -> tuple[Planned, ...]:
        """Those of them that have not run anywhere with this build."""
        ran = {each.scenario for each in self.seen}
        return tuple(each for each in self.planned_for(requirement) if each.scenario not in ran)


def gather_evidence(
    project: Path, driver: Path, runs: Iterable[Path], scenarios: Sequence[Path], *, named: bool
) -> Evidence:
    """Read runs and collect scenarios; of attempts at the same scenario on the same guest the last one counts.

    `named`: the folders were asked for one by one, so that one without results is an error (UsageError).
    Raises HostError when the scenarios cannot be collected.
    """
    wanted = _digest(driver)
    seen: dict[tuple[str, str], Seen] = {}
    others = 0
    for run in runs:
        records = _records(run, named=named)
        session = next((record for record in records if record.get("record") == "session"), {})
        results = [record for record in records if record.get("record") == "result" and record.get("requirements")]
        if session.get("driver_sha256") != wanted:
            others += len(results)
            continue
        for record in results:
            each = _seen(record, session, run)
            before = seen.get((each.scenario, each.guest))
            if before is None or before.started <= each.started:
                seen[each.scenario, each.guest] = each
    planned = plan(project, scenarios)
    there = tuple(each for each in seen.values() if not _is_gone(each.scenario, planned))
    return Evidence(seen=there, planned=tuple(planned), other_builds=others, gone=len(seen) - len(there))


def plan(project: Path, scenarios: Sequence[Path]) -> list[Planned]:
    """The scenarios below these folders that are marked with requirements, as pytest collects them."""
    return [
        Planned(scenario=entry["test"], requirements=tuple(entry["requirements"]), title=entry["title"])
        for entry in collect_marks(project, scenarios, "requirement")
        if entry["requirements"] and entry["scenario"]
    ]


def _is_gone(scenario: str, planned: Sequence[Planned]) -> bool:
    file = scenario.partition("::")[0] + "::"
    return any(each.scenario.startswith(file) for each in planned) and all(
        each.scenario != scenario for each in planned
    )


def find_runs(folder: Path) -> list[Path]:
    """The folders of runs below a folder, such as `out`."""
    return sorted(path.parent for path in folder.glob("*/results.jsonl"))


def _records(run: Path, *, named: bool) -> list[dict[str, Any]]:
    try:
        return read_results(run / "results.jsonl")
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise UsageError(
                f"There are no results in '{run}': {error}.", hint="Give the folder of a run, such as out/<run>."
            ) from error
        return []


def _seen(record: Mapping[str, Any], session: Mapping[str, Any], run: Path) -> Seen:
    guest = str(record.get("guest", ""))
    # The name alone: nobody's '..' leads out of the run, and the run may have been moved.
    name = Path(str(record.get("folder", ""))).name
    folder = run / "scenarios" / name
    return Seen(
        scenario=str(record["scenario"]),
        requirements=tuple(map(str, record["requirements"])),
        title=str(record.get("title", "")),
        outcome=Outcome(record["outcome"]),
        guest=guest,
        where=_where(guest, str(session.get("guest_kind", ""))),
        message=str(record.get("message", "")),
        started=str(record.get("started", "")),
        run=run,
        folder=folder if name and name != ".." and folder.is_dir() else None,
    )


def _where(guest: str, kind: str) -> Where:
    if not kind and guest in known_profiles():
        try:
            kind = str(load_profile(guest).kind)
        except ConfigError:
            return Where.UNKNOWN
    if kind == GuestKind.WINDOWS:
        return Where.WINDOWS
    return Where.REFERENCE if kind == GuestKind.REFERENCE else Where.UNKNOWN


def _digest(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(
            f"The driver '{path}' could not be read: {error.strerror}.", hint="'file' under [driver] in driver.toml."
        ) from error
