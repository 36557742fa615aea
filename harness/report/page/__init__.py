"""The page that a person looks at: one HTML file with everything in it, made from results.jsonl and the folders.

A run is one part of a page; a night has a part for each cell of its matrix.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from harness.errors import HostError
from harness.report.outcome import Outcome
from harness.report.page.changes import Changes, changes, signatures
from harness.report.page.grid import WORST_FIRST, axes_of, heat, squares
from harness.report.page.parts import CrashPast, Memory, Part, Quarantine, ScenarioPast, read_part
from harness.report.page.results import crashes_of, outcomes_of, show_results
from harness.report.signature import signature_of

__all__ = [
    "Changes",
    "CrashPast",
    "Memory",
    "Part",
    "Quarantine",
    "ScenarioPast",
    "changes",
    "outcomes_of",
    "read_part",
    "render_page",
    "render_parts",
    "write_page",
    "write_text",
]

_SCRIPTS = ("page.js", "dissect.js", "timeline.js", "start.js")


def write_page(
    run: Path, target: Path | None = None, *, against: Path | None = None, memory: Memory | None = None
) -> Path:
    """Make the page of a run's folder; the path of the file, which is `report.html` in the folder if not given.

    Raises UsageError when a folder holds no results, HostError when the page cannot be written.
    """
    path = target or run / "report.html"
    write_text(path, render_page(run, against=against, links_from=path.parent, memory=memory))
    return path


def write_text(path: Path, text: str) -> None:
    """Write a report. Raises HostError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(f"The report '{path}' cannot be written: {error.strerror}.") from error


def render_page(
    run: Path, *, against: Path | None = None, links_from: Path | None = None, memory: Memory | None = None
) -> str:
    """The page of a run as text; links to captures and logs are relative to `links_from`."""
    return render_parts(
        [read_part(run)],
        title=run.resolve().name,
        before=[read_part(against)] if against is not None else None,
        before_title=against.resolve().name if against is not None else "",
        links_from=links_from or run,
        memory=memory,
    )


def render_parts(
    parts: Sequence[Part],
    *,
    title: str,
    before: Sequence[Part] | None,
    before_title: str,
    links_from: Path,
    memory: Memory | None = None,
    seconds: float | None = None,
) -> str:
    """The page as text. `seconds` is how long all took by the clock, where that is known."""
    memory = memory or Memory()
    shown = show_results(parts, links_from, memory)
    compared: Changes | None = None
    if before is not None:
        compared = changes(outcomes_of(before), outcomes_of(parts))
    counts = Counter(each["outcome"] for each in shown)
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    is_night = any(part.name for part in parts)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("report.html.j2")).render(
        session=next((part.session for part in parts if part.session), {}),
        is_night=is_night,
        parts=parts,
        axes=axes_of(parts),
        run=title,
        ended=all(part.ended or part.refused or part.reason for part in parts),
        against=before_title if before is not None else None,
        changes=compared,
        changed=_changed(compared, shown) if compared is not None else (),
        crashes=_crashes(parts, shown, before, memory),
        again=[each for each in shown if len(each["attempts"]) > 1],
        known=[each for each in shown if each["known"]],
        memory=memory,
        outcomes=[str(outcome) for outcome in Outcome],
        counts=[(str(outcome), counts[outcome]) for outcome in WORST_FIRST if counts[outcome]],
        total=len(shown),
        seconds=sum(each["seconds"] for each in shown),
        clock=seconds,
        heat=heat(parts, shown) if is_night else None,
        squares=squares(parts, shown) if is_night else None,
        groups=_groups(shown),
        scenarios=sorted(shown, key=lambda each: (each["known"] != "", WORST_FIRST.index(each["outcome"]))),
        style=_asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _changed(found: Changes, shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The kinds of changes that there are; the same change of a scenario in several cells is told once."""
    places = {(each["scenario"], each["part"] or each["guest"]): each["id"] for each in shown}
    told = []
    for words, kind, listed in (
        ("newly failing", "bad", found.newly_failing),
        ("newly passing", "good", found.newly_passing),
        ("otherwise another outcome", "", found.otherwise),
        ("slower", "", found.slower),
        ("new here", "", found.added),
        ("no longer run", "", found.gone),
    ):
        rows: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for each in listed:
            where = places.get((each.scenario, each.guest), "")
            rows.setdefault((each.scenario, each.was, each.now), []).append((each.guest, where))
        if listed:
            told.append({"words": words, "kind": kind, "count": len(listed), "rows": list(rows.items())})
    return told


def _crashes(
    parts: Sequence[Part], shown: Sequence[Mapping[str, Any]], before: Sequence[Part] | None, memory: Memory
) -> list[dict[str, Any]]:
    """One entry for each signature, the new ones first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in shown:
        for attempt in each["attempts"]:
            told = signature_of(attempt["message"]) if attempt["outcome"] == Outcome.CRASH else None
            if told is not None:
                found.setdefault(str(told), []).append(each)
    seen_before = set(signatures(crashes_of(before))) if before is not None else set()
    began = min(
        (str(record["started"]) for part in parts for record in part.records if record.get("started")), default=""
    )
    listed = []
    for signature, places in found.items():
        past = memory.crashes.get(signature)
        if past is not None:
            is_new = bool(began) and past.first >= began
        else:
            is_new = before is not None and signature not in seen_before
        listed.append({"signature": signature, "places": places, "past": past, "is_new": is_new})
    return sorted(listed, key=lambda each: (not each["is_new"], -len(each["places"])))


def _groups(shown: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in shown:
        groups.setdefault(each["module"], []).append(each)
    return sorted(groups.items())


def _asset(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
