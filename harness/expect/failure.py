"""The text of a failed expectation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import ExpectationFailed
from harness.printable import printable
from harness.trace import Entry

_places: list[Path] = []
# The lane of the witness that was asked, by the name of an expectation.
_LANES = {
    "witness": "frame",
    "far.witness": "far",
    "trace": "event",
    "listener": "socket",
    "connection": "socket",
    "value": "socket",
}
_CLAIM = re.compile(r"expect\(([\w.]+)\)")
_PLACE = " Timeline: "


@contextmanager
def timeline_at(path: Path) -> Iterator[None]:
    """Name `path` as the place of the timeline in failures raised inside the block."""
    _places.append(path)
    try:
        yield
    finally:
        _places.remove(path)


def fail(claim: str, wanted: str, seen: str, nearest: str | None = None) -> ExpectationFailed:
    """The error to raise: `claim` names the expectation, as in 'expect(witness).none'."""
    text = f"{claim}: wanted {wanted}, saw {seen}."
    if nearest:
        text += f" Nearest miss: {nearest}."
    if _places:
        text += f"{_PLACE}{_places[-1]}"
    return ExpectationFailed(text)


def failure_entry(moment: float, outcome: str, message: str) -> Entry:
    """What ended a scenario, as an entry of its timeline, in the lane of the witness that said it.

    What took the guest along stands in the driver's lane, what is nobody's word in the harness's. `moment` is in
    monotonic seconds.
    """
    first = next(iter(message.splitlines()), "")
    first = first.rpartition(_PLACE)[0] or first
    claim = _CLAIM.match(first)
    lane = "event" if outcome in ("CRASH", "HANG") else _LANES.get(claim[1] if claim else "", "step")
    return Entry(time=moment, lane=lane, text=f"{outcome}: {printable(first)}")
