"""The engine's checks fail when the engine is wrong: faults are put into the model's sources, one at a time.

An ordinary run tries the few that are marked `sample`, `make mutations` all of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from harness.report.coverage import names_of_checks
from harness.wfp import rule, unknown_ids
from tests.bad_drivers.test_bad_drivers import NAMES as BAD_DRIVERS
from tests.mutations.workshop import MODEL, ROOT, Mutation, Workshop, read_mutations

MUTATIONS = read_mutations()
TRIED = [each for each in MUTATIONS if each.sample or os.environ.get("WFP_HIL_MUTATIONS") == "all"]

ENOUGH_RULES = 4  # checked ones: an area with fewer is only begun


def each(mutations: list[Mutation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("mutation", mutations, ids=lambda mutation: mutation.name)


@each(MUTATIONS)
def test_a_mutation_fits_the_sources(mutation: Mutation) -> None:
    """What it replaces is there once, and its rules have checks that could fail."""
    source = (ROOT / MODEL / "src" / mutation.file).read_text()
    assert source.count(mutation.find) == 1, f"in {mutation.file}: {mutation.find}"
    assert mutation.find != mutation.replace
    assert not unknown_ids(mutation.rules)
    if mutation.driver:
        assert mutation.driver.partition("-")[2] in BAD_DRIVERS
        assert mutation.driver.startswith("good-") or mutation.rules == (mutation.driver.split("-")[1],)
    else:
        assert set(mutation.rules) <= {mention.rule for mention in names_of_checks(ROOT)}


def test_every_area_that_is_checked_has_two_mutations() -> None:
    tried = [rule(name).area.number for each in MUTATIONS for name in each.rules]
    checked = [rule(name).area.number for name in {mention.rule for mention in names_of_checks(ROOT)}]
    assert {area for area in checked if checked.count(area) >= ENOUGH_RULES and tried.count(area) < 2} == set()
    assert len({each.name for each in MUTATIONS}) == len(MUTATIONS)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, wine: Any) -> Iterator[Workshop]:
    if shutil.which("x86_64-w64-mingw32-gcc") is None:
        pytest.skip("mingw-w64 is not installed")
    folder = tmp_path_factory.mktemp("mutations")
    made = Workshop(folder, wine)
    assert made.failed() == set(), "a check fails without any fault"
    yield made
    shutil.rmtree(folder)


@pytest.mark.wine
@pytest.mark.timeout(900)
@each(TRIED)
def test_a_fault_is_found(workshop: Workshop, mutation: Mutation) -> None:
    """With the fault in the engine a check of each rule that it breaks fails; in the checker: a driver is misjudged."""
    with workshop.fault(mutation):
        if mutation.driver:
            told = workshop.told(mutation.driver)
            assert bool(told & set(mutation.rules)) == mutation.driver.startswith("good-"), told
            return
        failed = workshop.failed()
    assert set(mutation.rules) <= failed, f"{mutation.what}: the checks that fail are of {sorted(failed) or 'no rule'}"
