"""What a night leaves, made from the cells' own results: page, JUnit, summary in Markdown; and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.history import HistoryStore, KnownIssues, memory_of
from harness.nightly.state import NightState, read_state
from harness.nightly.table import verdict
from harness.report import Attempt, Outcome, read_results, write_suites
from harness.report.page import Memory, Part, render_parts, write_text
from harness.report.summary import render_summary

_USAGE, _LOST, _INTERRUPTED = 2, 3, 130


def parts_of(folder: Path, state: NightState) -> list[Part]:
    """The cells of a night, as far as they have run, with their results."""
    parts = []
    for each in state.cells:
        run = folder / each.folder if each.folder else None
        records: list[dict[str, Any]] = []
        if run is not None and each.stage == "finished":
            with suppress(OSError):
                records = read_results(run / "results.jsonl")
        words, _ = verdict(each)
        parts.append(
            Part(
                folder=run,
                name=each.id,
                axes=each.axes,
                records=records,
                note=words,
                seconds=each.seconds,
                refused=each.stage == "refused",
                reason=_reason(each.stage, each.reason),
            )
        )
    return parts


def exit_code(state: NightState) -> int:
    """As of a run: 1 the driver failed, 2 usage, 3 host or infrastructure, 0 all that ran has passed."""
    codes = {each.exit_code for each in state.cells if each.stage == "finished"}
    if any(each.stage in ("waiting", "running") for each in state.cells):
        return _INTERRUPTED
    known = (1, _USAGE, _LOST)
    others = _LOST if codes - {0, *known, None} else 0  # a code that no run should end with
    return next((code for code in known if code in codes), others)


def write_reports(
    folder: Path,
    state: NightState,
    *,
    before: Path | None,
    history: Path | None,
    known: KnownIssues,
    seconds: float | None = None,
) -> list[tuple[str, Path]]:
    """Write index.html, junit.xml and summary.md into the night's folder; what each is, and where.

    Raises HostError when they cannot be written.
    """
    parts = parts_of(folder, state)
    earlier = parts_of(before, read_state(before)) if before is not None else None
    page = render_parts(
        parts,
        title=f"{state.title} {folder.name}",
        before=earlier,
        before_title=before.name if before is not None else "",
        links_from=folder,
        memory=_memory(parts, history, known),
        seconds=seconds,
    )
    write_text(folder / "index.html", page)
    suites = [
        (part.name, attempts_of(part), {**part.axes, **_facts(part), "refused": part.refused or None}, part.reason)
        for part in parts
        if part.records or part.reason
    ]
    write_suites(folder / "junit.xml", suites)
    write_text(
        folder / "summary.md", render_summary(parts, title=state.title, before=earlier, exit_code=exit_code(state))
    )
    return [
        ("report", folder / "index.html"),
        ("JUnit", folder / "junit.xml"),
        ("summary", folder / "summary.md"),
    ]


def attempts_of(part: Part) -> list[Attempt]:
    """The attempts of a cell as a run itself has them."""
    names = set(Attempt.__dataclass_fields__)
    found = []
    for tries in part.attempts().values():
        for record in tries:
            given = {name: value for name, value in record.items() if name in names}
            given["outcome"] = Outcome(record["outcome"])
            with suppress(TypeError):
                found.append(Attempt(**given))
    return found


def _facts(part: Part) -> dict[str, Any]:
    told = ("guest", "image", "driver", "driver_version", "driver_sha256", "harness", "nic", "accelerator")
    return {name: part.session[name] for name in told if name in part.session}


def _memory(parts: Sequence[Part], history: Path | None, known: KnownIssues) -> Memory:
    for part in parts:
        for attempt in attempts_of(part):
            known.reason_for(attempt.scenario, attempt.guest, attempt.outcome, attempt.message)
    if history is None or not history.exists():
        return memory_of((), known)
    with HistoryStore(history) as store:
        return memory_of(store.pasts(), known)


def _reason(stage: str, reason: str) -> str:
    if stage == "waiting":
        return "It has not run yet: the night was interrupted."
    if stage == "running":
        return "It runs, or was killed while it ran."
    return reason
