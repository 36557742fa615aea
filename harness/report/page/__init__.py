"""The page that a person looks at: one HTML file with everything in it, made from results.jsonl and the folders."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from harness.errors import HostError, UsageError
from harness.report.outcome import Outcome
from harness.report.page.changes import Changes, Key, changes, signatures
from harness.report.page.evidence import packed, timeline
from harness.report.results import read_results

__all__ = ["Changes", "changes", "render_page", "write_page"]

_WORST_FIRST = (Outcome.CRASH, Outcome.HANG, Outcome.FAIL, Outcome.LOST, Outcome.SKIP, Outcome.PASS)
_FILES = (
    ("frames.pcapng", "capture"),
    ("far-frames.pcapng", "capture of the second link"),
    ("events.jsonl", "driver's events"),
    ("timeline.txt", "timeline as text"),
    ("serial.log", "serial console"),
    ("wfp-state.xml", "filter engine's state"),
    ("crash.json", "crash"),
    ("threads.txt", "stacks of all threads"),
    ("screen.png", "screen"),
    ("MEMORY.DMP", "memory dump"),
)


def write_page(run: Path, target: Path | None = None, *, against: Path | None = None) -> Path:
    """Make the page of a run's folder; the path of the file, which is `report.html` in the folder if not given.

    Raises UsageError when a folder holds no results, HostError when the page cannot be written.
    """
    path = target or run / "report.html"
    text = render_page(run, against=against, links_from=path.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(f"The report '{path}' cannot be written: {error.strerror}.") from error
    return path


def render_page(run: Path, *, against: Path | None = None, links_from: Path | None = None) -> str:
    """The page as text; links to captures and logs are relative to `links_from`."""
    records = _records(run)
    session = next((record for record in records if record["record"] == "session"), {})
    end = next((record for record in reversed(records) if record["record"] == "end"), None)
    scenarios = _scenarios(run, records, links_from or run)
    compared: Changes | None = None
    new_signatures: tuple[str, ...] = ()
    if against is not None:
        earlier = _records(against)
        compared = changes(_outcomes(earlier), _outcomes(records))
        known = set(signatures(_crashes(earlier)))
        new_signatures = tuple(each for each in signatures(_crashes(records)) if each not in known)
    counts = Counter(each["outcome"] for each in scenarios)
    script = _asset("report.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("report.html.j2")).render(
        session=session,
        run=run.resolve().name,
        ended=end,
        against=against.resolve().name if against is not None else None,
        changes=compared,
        new_signatures=new_signatures,
        counts=[(str(outcome), counts[outcome]) for outcome in _WORST_FIRST if counts[outcome]],
        total=len(scenarios),
        seconds=sum(each["seconds"] for each in scenarios),
        groups=_groups(scenarios),
        places={(each["scenario"], each["guest"]): each["id"] for each in scenarios},
        scenarios=sorted(scenarios, key=lambda each: _WORST_FIRST.index(each["outcome"])),
        style=_asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _scenarios(run: Path, records: Sequence[dict[str, Any]], links_from: Path) -> list[dict[str, Any]]:
    attempts: dict[Key, list[dict[str, Any]]] = {}
    for record in records:
        if record["record"] == "result":
            attempts.setdefault((record["scenario"], record.get("guest", "")), []).append(record)
    shown = []
    for number, ((scenario, guest), tries) in enumerate(attempts.items(), start=1):
        last = tries[-1]
        module, _, name = scenario.partition("::")
        shown.append(
            {
                "id": f"s{number}",
                "scenario": scenario,
                "module": module.removeprefix("scenarios/").removesuffix(".py"),
                "name": name,
                "guest": guest,
                "outcome": Outcome(last["outcome"]),
                "title": last.get("title") or name,
                "rules": last.get("rules", ()),
                "message": last.get("message", ""),
                "details": last.get("details", ""),
                "complaints": last.get("complaints", ()),
                "breaches": last.get("breaches", ()),
                "seconds": sum(last.get("seconds", {}).values()),
                "phases": last.get("seconds", {}),
                "attempts": [
                    {"number": each.get("attempt", 1), "outcome": each["outcome"], "message": each.get("message", "")}
                    for each in tries
                ],
                **_evidence(run, last, links_from),
            }
        )
    return shown


def _evidence(run: Path, record: dict[str, Any], links_from: Path) -> dict[str, Any]:
    # The name alone: the folder of the run may have been moved since, and nobody's '..' leads out of it.
    name = Path(str(record.get("folder", ""))).name
    folder = run / "scenarios" / name
    if not name or name == ".." or not folder.is_dir():
        return {"timeline": "", "links": ()}
    seen = timeline(folder, str(record.get("message", "")))
    links = [(_link(folder / file, links_from), words) for file, words in _FILES if (folder / file).is_file()]
    return {"timeline": packed(seen) if seen["entries"] else "", "links": links}


def _link(path: Path, start: Path) -> str:
    try:
        return path.resolve().relative_to(start.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_uri()


def _groups(scenarios: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in scenarios:
        groups.setdefault(each["module"], []).append(each)
    return sorted(groups.items())


def _outcomes(records: Sequence[dict[str, Any]]) -> dict[Key, tuple[Outcome, float]]:
    return {
        (record["scenario"], record.get("guest", "")): (
            Outcome(record["outcome"]), float(sum(record.get("seconds", {}).values())),
        )
        for record in records
        if record["record"] == "result"
    }  # fmt: skip


def _crashes(records: Sequence[dict[str, Any]]) -> list[str]:
    return [str(record.get("message", "")) for record in records if record.get("outcome") == Outcome.CRASH]


def _records(run: Path) -> list[dict[str, Any]]:
    path = run / "results.jsonl"
    try:
        return read_results(path)
    except OSError as error:
        raise UsageError(
            f"There are no results at '{path}': {error.strerror}.", hint="Give the folder of a run, such as out/<run>."
        ) from error


def _asset(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
