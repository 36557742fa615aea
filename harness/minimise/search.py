"""From a capture that fails to a small one that still does: conversations, packets, bytes, pauses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from harness.capture import Capture
from harness.errors import UsageError
from harness.minimise.ddmin import minimise
from harness.minimise.packets import readable
from harness.minimise.smaller import changed, pauses, plain, shortened, without_pauses
from harness.minimise.tries import Tries
from harness.minimise.verdict import Verdict

T = TypeVar("T")

_SIZES = (1, 16, 256)  # of payloads, tried in this order
_MOST_PROBES = 10
_ROUNDS = 4  # smaller packets may make others needless, and those again others


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How often the whole capture failed, and as what first."""

    hits: int
    attempts: int
    verdict: Verdict

    @property
    def rate(self) -> float:
        """The share of attempts that failed."""
        return self.hits / self.attempts

    def __str__(self) -> str:
        return f"{self.hits} of {self.attempts} attempts: {self.verdict}"


def reproduce(capture: Capture, tries: Tries, *, attempts: int = 3) -> Reproduction:
    """Attempt the whole capture, and more often where it does not fail each time.

    Raises UsageError when it never does.
    """
    seen = tries.verdicts(capture, attempts)
    hits = [verdict for verdict in seen if tries.criterion.holds(verdict)]
    if 0 < len(hits) < len(seen) < _MOST_PROBES:
        seen = tries.verdicts(capture, _MOST_PROBES)
        hits = [verdict for verdict in seen if tries.criterion.holds(verdict)]
    if not hits:
        raise UsageError(
            f"The capture never came to '{tries.criterion}' in {len(seen)} attempts; the last one: {seen[-1]}.",
            hint="See whether the driver and its rules are those of the field, or try more often with --repeat.",
        )
    return Reproduction(len(hits), len(seen), hits[0])


class Search:
    """One search; `best` is the smallest capture that is known to fail, also while it goes on."""

    def __init__(
        self,
        capture: Capture,
        tries: Tries,
        *,
        with_pauses: bool = False,
        found: Callable[[Capture], None] | None = None,
        stage: Callable[[str], None] | None = None,
    ) -> None:
        self.best = capture if with_pauses else without_pauses(capture, ())
        self._tries = tries
        self._with_pauses = with_pauses
        self._found = found
        self._stage = stage

    def run(self) -> Capture:
        """Make it as small as it gets."""
        self._conversations()
        for _ in range(_ROUNDS):
            before = self.best
            self._packets()
            self._bytes()
            if self.best.numbers == before.numbers:
                break
        if self._with_pauses:
            self._pauses()
        return self.best

    def _conversations(self) -> None:
        """Whole conversations; a packet that is in none stands for itself."""
        self._enter("conversations")
        groups = [conversation.numbers for conversation in self.best.conversations()]
        inside = {number for group in groups for number in group}
        groups += [(number,) for number in self.best.numbers if number not in inside]
        self._leave_out(groups, self._keeping)

    def _packets(self) -> None:
        self._enter("packets")
        self._leave_out(self.best.numbers, self.best.keeping)

    def _bytes(self) -> None:
        self._enter("bytes")
        everything = self.best.conversations()
        # All that makes it shorter or easier to read, at once first: most faults look at neither.
        simplest = self.best
        for change in (shortened(_SIZES[0]), plain, readable):
            simplest = changed(simplest, simplest.conversations(), change)
        if self._take(simplest):
            return
        for change in (plain, *map(shortened, _SIZES), readable):
            if self._take(changed(self.best, self.best.conversations(), change)):
                continue
            for at in range(len(everything)):
                one = self.best.conversations()[at : at + 1]
                self._take(changed(self.best, one, change))

    def _pauses(self) -> None:
        self._enter("pauses")
        self._leave_out(pauses(self.best), partial(without_pauses, self.best))

    def _leave_out(self, items: Sequence[T], build: Callable[[tuple[T, ...]], Capture]) -> None:
        def first_failing(parts: Iterable[tuple[T, ...]]) -> int | None:
            tried: list[tuple[T, ...]] = []

            def captures() -> Iterable[Capture]:
                for part in parts:
                    tried.append(part)
                    yield build(part)

            at = self._tries.first_failing(captures())
            if at is not None:
                self._take_over(build(tried[at]))
            return at

        minimise(items, first_failing)

    def _keeping(self, groups: Iterable[tuple[int, ...]]) -> Capture:
        return self.best.keeping({number for group in groups for number in group})

    def _take(self, capture: Capture) -> bool:
        if capture.packets == self.best.packets or not self._tries.fails(capture):
            return False
        self._take_over(capture)
        return True

    def _take_over(self, capture: Capture) -> None:
        self.best = capture
        if self._found is not None:
            self._found(capture)

    def _enter(self, stage: str) -> None:
        if self._stage is not None:
            self._stage(stage)
