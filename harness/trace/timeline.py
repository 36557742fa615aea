"""The timeline: frames, events, calls of sockets and steps of a scenario in one order, as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a timeline.

    `time` is monotonic seconds of this host, `lane` is frame, far (frames of the second link), event, socket, step or
    replay.
    """

    time: float
    lane: str
    text: str


def render_timeline(entries: Iterable[Entry], *, origin: float | None = None) -> str:
    """One line an entry, oldest first, with seconds since `origin` (default: the first entry)."""
    ordered = sorted(entries, key=lambda entry: entry.time)
    if not ordered:
        return "(nothing was seen)\n"
    start = ordered[0].time if origin is None else origin
    return "".join(f"{entry.time - start:9.4f} s  {entry.lane:<6}  {entry.text}\n" for entry in ordered)
