"""Delta debugging: a part of a sequence that still fails, found by leaving out ever smaller pieces.

After Zeller and Hildebrandt, 'Simplifying and Isolating Failure-Inducing Input' (2002), section 3, in the order in
which a single culprit among thousands is found by some twenty tries: halves, quarters, and so on, each grain gone
through once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

FirstFailing = Callable[[Iterable[tuple[T, ...]]], int | None]
"""Which of these still fails, counted from 0, the first one; None when none does. It may try several side by side."""


def minimise(items: Sequence[T], first_failing: FirstFailing[T]) -> tuple[T, ...]:
    """A part of `items`, in their order, that still fails, and of which no single item can be left out.

    That `items` itself fails is taken for granted.
    """
    kept = tuple(items)
    size = (len(kept) + 1) // 2
    while kept:
        shorter = _sweep(kept, size, first_failing)
        if size == 1 and len(shorter) == len(kept):
            return kept
        kept = shorter
        size = max(1, min((size + 1) // 2, (len(kept) + 1) // 2))
    return kept


def _sweep(kept: tuple[T, ...], size: int, first_failing: FirstFailing[T]) -> tuple[T, ...]:
    """Go through it once, leaving out pieces of this size where it goes on failing."""
    at = 0
    while at < len(kept):
        starts = range(at, len(kept), size)
        found = first_failing(kept[:start] + kept[start + size :] for start in starts)
        if found is None:
            break
        at = starts[found]
        kept = kept[:at] + kept[at + size :]
    return kept
