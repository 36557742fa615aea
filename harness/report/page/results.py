"""The results of all parts as the template shows them, with their evidence, within the size that a page may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.report.outcome import Outcome
from harness.report.page.changes import Key
from harness.report.page.evidence import packed, timeline
from harness.report.page.parts import Memory, Part

_MOST_TIMELINE_CHARACTERS = 14 << 20  # of all together: what lies above is in the folders alone
_LONGEST_DETAILS = 20_000
_SHOWN_PACKETS = 12
_FILES = (
    ("frames.pcapng", "capture"),
    ("far-frames.pcapng", "capture of the second link"),
    ("events.jsonl", "driver's events"),
    ("sockets.jsonl", "guest's sockets"),
    ("timeline.txt", "timeline as text"),
    ("serial.log", "serial console"),
    ("wfp-state.xml", "filter engine's state"),
    ("crash.json", "crash"),
    ("threads.txt", "stacks of all threads"),
    ("screen.png", "screen"),
    ("MEMORY.DMP", "memory dump"),
)


def show_results(parts: Sequence[Part], links_from: Path, memory: Memory) -> list[dict[str, Any]]:
    """One entry for each scenario of each part; the last attempt speaks for it, the others are listed."""
    shown: list[dict[str, Any]] = []
    for part in parts:
        for key, tries in part.attempts().items():
            shown.append(_show(part, key, tries, f"s{len(shown) + 1}", links_from, memory))
    _fit(shown)
    return shown


def outcomes_of(parts: Sequence[Part]) -> dict[Key, tuple[Outcome, float]]:
    """What each scenario came to at last, and its seconds."""
    return {
        key: (Outcome(tries[-1]["outcome"]), _seconds(tries[-1]))
        for part in parts
        for key, tries in part.attempts().items()
    }


def crashes_of(parts: Sequence[Part]) -> list[str]:
    """The messages of all crashes, of whatever attempt."""
    return [str(record.get("message", "")) for record in _results(parts) if record["outcome"] == Outcome.CRASH]


def _results(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        for tries in part.attempts().values():
            yield from tries


def _show(
    part: Part, key: Key, tries: Sequence[dict[str, Any]], number: str, links_from: Path, memory: Memory
) -> dict[str, Any]:
    last, scenario = tries[-1], key[0]
    module, _, name = scenario.partition("::")
    guest = str(last.get("guest", ""))
    past = memory.scenarios.get((scenario, guest, part.circumstances))
    return {
        "id": number,
        "part": part.name,
        "scenario": scenario,
        "module": module.removeprefix("scenarios/").removesuffix(".py"),
        "name": name,
        "guest": guest,
        "outcome": Outcome(last["outcome"]),
        "title": last.get("title") or name,
        "rules": last.get("rules", ()),
        "message": last.get("message", ""),
        "details": _cut(str(last.get("details", ""))),
        "known": str(last.get("known", "")),
        "complaints": last.get("complaints", ()),
        "breaches": last.get("breaches", ()),
        "departures": _departures(last),
        "seconds": _seconds(last),
        "phases": last.get("seconds", {}),
        "started": str(last.get("started", "")),
        "past": past,
        "attempts": [
            {
                "number": each.get("attempt", 1),
                "outcome": each["outcome"],
                "message": str(each.get("message", "")),
                "links": _links(part, each, links_from) if each is not last else (),
            }
            for each in tries
        ],
        "links": _links(part, last, links_from),
        "timeline": _timeline(part, last),
        "timeline_left_out": False,
    }


def _seconds(record: Mapping[str, Any]) -> float:
    return float(sum(record.get("seconds", {}).values()))


def _cut(text: str) -> str:
    left = len(text) - _LONGEST_DETAILS
    return text if left <= 0 else f"{text[:_LONGEST_DETAILS]}\n... and {left} more characters in results.jsonl"


def _departures(record: Mapping[str, Any]) -> list[str]:
    told = []
    for each in (found for found in record.get("departures") or () if isinstance(found, dict)):
        numbers = list(each.get("numbers") or ())
        more = int(each.get("count") or 0) - min(len(numbers), _SHOWN_PACKETS)
        shown = ", ".join(str(number) for number in numbers[:_SHOWN_PACKETS])
        which = f"packet{'' if len(numbers) == 1 else 's'} {shown}{f' and {more} more' if more > 0 else ''}: "
        told.append((which if numbers else "") + str(each.get("text", "")))
    return told


def _folder(part: Part, record: Mapping[str, Any]) -> Path | None:
    # The name alone: the folder of the run may have been moved since, and nobody's '..' leads out of it.
    name = Path(str(record.get("folder", ""))).name
    if not name or name == ".." or part.folder is None:
        return None
    folder = part.folder / "scenarios" / name
    return folder if folder.is_dir() else None


def _links(part: Part, record: Mapping[str, Any], links_from: Path) -> list[tuple[str, str]]:
    folder = _folder(part, record)
    if folder is None:
        return []
    there = {file.name for file in folder.iterdir()}
    start = _link(folder, links_from)
    return [(f"{start}/{file}", words) for file, words in _FILES if file in there]


def _timeline(part: Part, record: Mapping[str, Any]) -> str:
    folder = _folder(part, record)
    if folder is None:
        return ""
    seen = timeline(folder, str(record.get("message", "")))
    return packed(seen) if seen["entries"] else ""


def _link(path: Path, start: Path) -> str:
    try:
        return path.resolve().relative_to(start.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_uri()


def _fit(shown: Sequence[dict[str, Any]]) -> None:
    """Leave out the largest timelines of what passed, then of the rest, until the page has a size that opens."""
    total = sum(len(each["timeline"]) for each in shown)
    for each in sorted(shown, key=lambda each: (each["outcome"] is not Outcome.PASS, -len(each["timeline"]))):
        if total <= _MOST_TIMELINE_CHARACTERS:
            return
        total -= len(each["timeline"])
        each["timeline_left_out"] = each["timeline"] != ""
        each["timeline"] = ""
