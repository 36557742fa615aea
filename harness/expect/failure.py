"""The text of a failed expectation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import ExpectationFailed

_places: list[Path] = []


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
        text += f" Timeline: {_places[-1]}"
    return ExpectationFailed(text)
