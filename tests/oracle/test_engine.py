"""The model's engine and the specification come to the same, whatever is done to them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from harness.oracle import disagreement, plan, shortest
from harness.oracle.operations import Operation
from harness.oracle.sequences import sequences
from tests.building import build
from tests.mutations.workshop import Mutation, Workshop, read_mutations
from tests.oracle.engine import Engine

MODEL = Path(__file__).parents[2] / "vm-images" / "reference" / "model"


@pytest.fixture(scope="module")
def engine(wine: Any) -> Iterator[Engine]:
    if shutil.which("x86_64-w64-mingw32-gcc") is None:
        pytest.skip("mingw-w64 is not installed")
    build(MODEL, "build/sequence.exe")
    made = Engine(MODEL / "build" / "sequence.exe", wine)
    yield made
    made.close()


# No shrinking by Hypothesis: it takes away what a strategy drew, not steps; 'shortest' needs a tenth of the runs.
FINDING = settings(max_examples=200, phases=[Phase.explicit, Phase.reuse, Phase.generate], database=None)


def differing(engine: Engine, operations: list[Operation]) -> str | None:
    """How the engine differs, in as few steps as show it; None when it does not."""

    def problem(some: list[Operation]) -> str | None:
        steps = plan(some)
        return disagreement(steps, engine.run(steps))

    if problem(operations) is None:
        return None
    left = shortest([step.operation for step in plan(operations)], lambda some: problem(some) is not None)
    return problem(left)


@pytest.mark.wine
@pytest.mark.timeout(900)
@FINDING
@given(sequences())
def test_the_engine_and_the_specification_agree(engine: Engine, operations: list[Operation]) -> None:
    """Arbitration, transactions, registrations, flow contexts, redirect states and records."""
    problem = differing(engine, operations)
    assert problem is None, f"\n{problem}"


FAULTS = [mutation for mutation in read_mutations() if mutation.oracle]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, wine: Any) -> Iterator[Workshop]:
    if shutil.which("x86_64-w64-mingw32-gcc") is None:
        pytest.skip("mingw-w64 is not installed")
    folder = tmp_path_factory.mktemp("oracle")
    yield Workshop(folder, wine)
    shutil.rmtree(folder)


@pytest.mark.wine
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", FAULTS, ids=lambda mutation: mutation.name)
def test_a_fault_in_the_engine_is_found_and_made_short(workshop: Workshop, wine: Any, mutation: Mutation) -> None:
    """A wrong engine disagrees with the specification, and what is left of the sequence are a few steps."""
    with workshop.fault(mutation):
        wrong = Engine(workshop.built("sequence.exe"), wine)
    found: list[str] = []

    @FINDING
    @given(sequences())
    def agree(operations: list[Operation]) -> None:
        problem = differing(wrong, operations) if not found else found[0]
        found[:] = [problem] if problem else []
        assert problem is None

    try:
        with pytest.raises(AssertionError):
            agree()
    finally:
        wrong.close()
    print(found[0])
    assert found[0].count("\n") <= 14
