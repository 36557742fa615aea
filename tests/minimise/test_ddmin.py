"""Delta debugging leaves a part that fails, of which nothing can be left out, and takes few tries to find it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.minimise.ddmin import minimise


class Asked:
    """A predicate that counts."""

    def __init__(self, fails: Callable[[tuple[int, ...]], bool]) -> None:
        self.fails = fails
        self.tries = 0

    def first_failing(self, parts: Iterable[tuple[int, ...]]) -> int | None:
        for number, part in enumerate(parts):
            self.tries += 1
            if self.fails(part):
                return number
        return None


@given(length=st.integers(1, 60), needed=st.sets(st.integers(0, 59), max_size=6))
def test_what_is_needed_is_all_that_is_left(length: int, needed: set[int]) -> None:
    needed = {number for number in needed if number < length}
    found = minimise(range(length), Asked(lambda part: needed <= set(part)).first_failing)
    assert found == tuple(sorted(needed))


@given(st.data())
def test_it_fails_still_and_nothing_more_can_be_left_out(data: st.DataObject) -> None:
    """Of any predicate, also one that fails with this many items and not with others."""
    length = data.draw(st.integers(1, 9))
    failing = data.draw(st.sets(st.integers(0, 2**length - 2), max_size=40)) | {2**length - 1}

    def fails(part: tuple[int, ...]) -> bool:
        return sum(1 << number for number in part) in failing

    found = minimise(range(length), Asked(fails).first_failing)
    assert fails(found)
    assert found == tuple(sorted(found))
    assert not any(fails(found[:at] + found[at + 1 :]) for at in range(len(found)))


@pytest.mark.parametrize(("culprits", "most"), [((2000,), 30), ((5, 2990), 60), ((1, 900, 901, 1700, 2999), 130)])
def test_a_few_culprits_among_thousands_take_few_tries(culprits: tuple[int, ...], most: int) -> None:
    asked = Asked(lambda part: set(culprits) <= set(part))
    assert minimise(range(3000), asked.first_failing) == culprits
    assert asked.tries <= most
