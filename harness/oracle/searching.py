"""Random sequences against whoever carries them out, until one comes to something else than is specified."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from harness.oracle.comparison import Observed, Step, disagreement, plan, shortest
from harness.oracle.operations import Operation
from harness.oracle.sequences import sequences
from harness.oracle.specification import Specification

Run = Callable[[Sequence[Step]], Sequence[Observed]]


def search(
    run: Run,
    *,
    examples: int,
    seed: int = 0,
    specification: Callable[[], Specification] = Specification,
    without: tuple[type[Operation], ...] = (),
) -> str | None:
    """The first disagreement, as few steps as show it and what differs; None when all `examples` agree.

    The same examples each time for a seed. `run` carries a sequence out in a world that is as at the start.
    """
    found: list[str] = []

    @seeded(seed)
    # No shrinking by Hypothesis: it takes away what a strategy drew, not steps; 'shortest' needs a tenth of the runs.
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences())
    def agrees(operations: list[Operation]) -> None:
        problem = None if found else short_disagreement(run, operations, specification=specification, without=without)
        if problem is not None:
            found.append(problem)

    agrees()
    return found[0] if found else None


def short_disagreement(
    run: Run,
    operations: Sequence[Operation],
    *,
    specification: Callable[[], Specification] = Specification,
    without: tuple[type[Operation], ...] = (),
) -> str | None:
    """How one sequence comes to something else, in as few of its steps as show it; None when it does not."""

    def problem(some: Sequence[Operation]) -> str | None:
        steps = plan(some, specification=specification, without=without)
        return disagreement(steps, run(steps)) if steps else None

    if problem(operations) is None:
        return None
    kept = [step.operation for step in plan(operations, specification=specification, without=without)]
    left = shortest(kept, lambda some: problem(some) is not None)
    return problem(left) or "It differed, and no longer does when it is tried again."
