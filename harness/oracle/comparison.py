"""What somebody saw of a step, held against what the specification says must come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.oracle.operations import At, Operation
from harness.oracle.specification import Call, Outcome, Specification, Unspecified


@dataclass(frozen=True, slots=True)
class Observed:
    """What came of a step; None where nobody looked."""

    status: str
    calls: tuple[Call, ...] | None = None
    passed: bool | None = None
    to: int | None = None
    deleted: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One operation, and what must come of it."""

    operation: Operation
    outcome: Outcome


def plan(
    operations: Iterable[Operation],
    *,
    specification: Callable[[], Specification] = Specification,
    without: tuple[type[Operation], ...] = (),
) -> list[Step]:
    """The operations that the documents say something of, each with its outcome; the others are left out.

    So are those `without` which whoever carries them out has to do. Another specification is for tests of whether a
    wrong one is found out.
    """
    world, steps = specification(), []
    for operation in operations:
        if isinstance(operation, without):
            continue
        try:
            steps.append(Step(operation, world.step(operation)))
        except Unspecified:
            continue
    return steps


def disagreement(steps: Sequence[Step], seen: Sequence[Observed]) -> str | None:
    """The first step that came to something else, with all steps up to it; None when everything agrees."""
    for number, (step, observed) in enumerate(zip(steps, seen, strict=True)):
        problem = _difference(step.outcome, observed)
        if problem:
            trail = [f"{index + 1:3} {each.operation}" for index, each in enumerate(steps[: number + 1])]
            return "\n".join([*trail, f"    {problem}"])
    return None


def _difference(wanted: Outcome, seen: Observed) -> str | None:
    return next((problem for problem in _differences(wanted, seen) if problem), None)


def _differences(wanted: Outcome, seen: Observed) -> Iterator[str | None]:
    if seen.status not in wanted.status:
        yield f"status: {' or '.join(sorted(wanted.status))} by the specification, seen {seen.status}"
    if seen.calls is not None:
        for at in At:
            yield _calls_differ(at, wanted, [call for call in seen.calls if call.at is at])
        if [call.at for call in seen.calls] != sorted(call.at for call in seen.calls):
            yield f"calls: the layers come in another order, seen {list(seen.calls)}"
    if seen.passed is not None and wanted.passed is not None and seen.passed is not wanted.passed:
        yield f"the datagram: it {_way(wanted.passed)} by the specification, seen that it {_way(seen.passed)}"
    if seen.to is not None and wanted.passed and seen.to != wanted.to:
        yield f"redirected to: {wanted.to} by the specification, seen {seen.to}"
    if seen.deleted is not None and sorted(seen.deleted) != sorted(wanted.deleted):
        yield f"flowDeleteFn: {sorted(wanted.deleted)} by the specification, seen {sorted(seen.deleted)}"


def _calls_differ(at: At, wanted: Outcome, seen: list[Call]) -> str | None:
    certain = [call for call in wanted.calls if call.at is at]
    further = seen[len(certain) :]
    if seen[: len(certain)] == certain and (not further or (at in wanted.unsure and not any(c.right for c in further))):
        return None
    return f"calls at {at.layer}: {certain} by the specification, seen {seen}"


def _way(passed: bool) -> str:
    return "passes" if passed else "is dropped"


def shortest(operations: Sequence[Operation], differs: Callable[[list[Operation]], bool]) -> list[Operation]:
    """What is left when every operation is taken away without which somebody still differs.

    Halves go first, then smaller and smaller pieces, then single steps until none can go any more; `differs` runs
    what it is given, from the beginning.
    """
    left = list(operations)
    size = max(1, len(left) // 2)
    while True:
        before = len(left)
        at = 0
        while at < len(left):
            without = left[:at] + left[at + size :]
            if without and differs(without):
                left = without
            else:
                at += size
        if size == 1 and len(left) == before:
            return left
        size = max(1, size // 2)
