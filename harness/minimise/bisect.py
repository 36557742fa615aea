"""Which build of a driver is the first bad one; a build that cannot be tried is skipped, and said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.errors import UsageError
from harness.minimise.builds import Build


class Mark(StrEnum):
    """What a build was found to be."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Judged:
    """A build, and why: what the attempts at it came to, or why there were none."""

    build: Build
    mark: Mark
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The end of a bisection.

    `suspects` are the builds of which one is the first bad one: a single one, unless builds beside it were skipped.
    """

    last_good: Build
    suspects: tuple[Build, ...]
    judged: tuple[Judged, ...]

    @property
    def first_bad(self) -> Build | None:
        """The first bad build; None where it is one of several."""
        return self.suspects[0] if len(self.suspects) == 1 else None

    @property
    def skipped(self) -> tuple[Build, ...]:
        """The builds that could not be tried."""
        return tuple(one.build for one in self.judged if one.mark is Mark.SKIPPED)

    def __str__(self) -> str:
        if self.first_bad is not None:
            return f"The first bad build is {self.first_bad}; the last good one is {self.last_good}."
        names = ", ".join(str(build) for build in self.suspects)
        return (
            f"The first bad build is one of {len(self.suspects)}, as those between could not be tried: {names}; "
            f"the last good one is {self.last_good}."
        )


def bisect(
    builds: Sequence[Build],
    judge: Callable[[Build], tuple[Mark, str]],
    tell: Callable[[Judged, int], None] | None = None,
) -> Finding:
    """Halve the range between a good build and a bad one, oldest first.

    The newest that can be tried has to be bad and the oldest good. `tell` is told each build and how many are left.
    Raises UsageError when the ends are not so.
    """
    known: dict[int, Judged] = {}
    same: dict[str, Judged] = {}

    def mark(at: int, low: int, high: int) -> Mark:
        build = builds[at]
        twin = same.get(build.sha256) if build.sha256 else None
        found = (twin.mark, f"the same file as {twin.build}: {twin.why}") if twin is not None else judge(build)
        known[at] = Judged(build, *found)
        if build.sha256:
            same.setdefault(build.sha256, known[at])
        if tell is not None:
            tell(known[at], sum(number not in known for number in range(low, high)))
        return known[at].mark

    bad = next((at for at in range(len(builds) - 1, -1, -1) if mark(at, 0, at) is not Mark.SKIPPED), None)
    if bad is None:
        raise UsageError(f"None of the {len(builds)} builds could be tried: {known[len(builds) - 1].why}")
    if known[bad].mark is Mark.GOOD:
        raise UsageError(
            f"The newest build that can be tried, {builds[bad]}, is good ({known[bad].why}).",
            hint="See whether the capture and --until are right: 'wfp-hil reproduce' with that build shows it.",
        )
    good = next((at for at in range(bad) if mark(at, at, bad) is not Mark.SKIPPED), None)
    if good is None:
        raise UsageError(f"Of the builds {builds[bad]} alone could be tried, and it is bad.")
    if known[good].mark is Mark.BAD:
        raise UsageError(
            f"The oldest build that can be tried, {builds[good]}, is bad already ({known[good].why}).",
            hint="Add older builds.",
        )
    while open_ones := [at for at in range(good + 1, bad) if at not in known]:
        middle = (good + bad) // 2
        at = min(open_ones, key=lambda number: (abs(number - middle), number))
        match mark(at, good + 1, bad):
            case Mark.GOOD:
                good = at
            case Mark.BAD:
                bad = at
    judged = tuple(known[at] for at in sorted(known))
    return Finding(builds[good], tuple(builds[good + 1 : bad + 1]), judged)
