"""Who runs what latched machines hand back, at each order in which workers ask, end and die.

What happens while a worker waits is told beforehand: each wait makes the next of it happen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.plugin import handed_back
from harness.plugin.handed_back import HandedBack, More

WHY = "The machine was lost twice."


@pytest.fixture
def shared() -> HandedBack:
    shared = HandedBack()
    for worker in ("a", "b"):
        shared.expect(worker)
    return shared


@pytest.fixture
def meanwhile(shared: HandedBack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask for more, with what happens at each look; the answer, and how many did not happen before it."""

    def ask(worker: str, latched: str, *events: Callable[[], object]) -> tuple[More | None, int]:
        left = list(events)
        monkeypatch.setattr(shared._changed, "wait", lambda _seconds: left.pop(0)())
        return shared.more(worker, latched), len(left)

    return ask


def test_a_sound_worker_waits_for_what_a_busy_one_may_give_back(shared: HandedBack, meanwhile: Any) -> None:
    assert meanwhile("b", "", lambda: shared.give_back("a", "one", WHY)) == (More("one"), 0)


def test_nothing_comes_when_nobody_is_busy(shared: HandedBack, meanwhile: Any) -> None:
    assert meanwhile("b", "", lambda: shared.ended("a")) == (None, 0)


def test_the_first_of_a_machine_is_told(shared: HandedBack) -> None:
    assert shared.give_back("a", "one", WHY)
    assert not shared.give_back("a", "two", WHY)
    assert shared.give_back("b", "three", WHY)


def test_a_latched_worker_leaves_what_there_is_to_a_sound_one(shared: HandedBack, meanwhile: Any) -> None:
    shared.give_back("a", "one", WHY)

    assert meanwhile("a", WHY, lambda: shared.more("b", ""), lambda: shared.ended("b")) == (None, 0)


def test_where_all_are_latched_it_is_skipped_with_every_cause(shared: HandedBack, meanwhile: Any) -> None:
    shared.give_back("a", "one", WHY)
    shared.give_back("b", "two", "So was this.")
    more, _ = meanwhile("a", WHY, lambda: meanwhile("b", "So was this."))

    assert more == More("two", f"every machine was lost twice. a: {WHY} b: So was this.")


def test_in_the_place_of_a_process_that_died_another_is_waited_for(shared: HandedBack, meanwhile: Any) -> None:
    shared.give_back("a", "one", WHY)
    shared.gone("b", died=True)

    def another() -> None:
        shared.expect("c")
        assert shared.more("c", "") == More("one")
        shared.ended("c")

    assert meanwhile("a", WHY, another) == (None, 0)


def test_but_not_for_ever(shared: HandedBack, meanwhile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed_back, "_REPLACED_SECONDS", 0.0)
    shared.give_back("a", "one", WHY)
    shared.gone("b", died=True)

    more, _ = meanwhile("a", WHY)

    assert more is not None
    assert more.skip


def test_a_worker_whose_end_was_told_before_its_last_word_holds_nobody_up(shared: HandedBack, meanwhile: Any) -> None:
    shared.gone("b", died=False)
    shared.ended("b")
    shared.give_back("a", "one", WHY)

    assert shared.more("b", "") is None
    assert meanwhile("a", WHY)[0] is not None


def test_what_did_not_arrive_goes_to_the_next(shared: HandedBack, meanwhile: Any) -> None:
    shared.give_back("a", "one", WHY)
    assert shared.more("b", "") == More("one")
    shared.take_back("one")

    assert shared.more("b", "") == More("one")


def test_a_run_that_is_broken_off_waits_for_nobody(shared: HandedBack, meanwhile: Any) -> None:
    assert meanwhile("b", "", shared.close) == (None, 0)
