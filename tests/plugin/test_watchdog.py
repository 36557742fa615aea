"""The watch-dog over a scenario: what counts as progress, whose time counts, and what it ends."""

from __future__ import annotations

import threading

import pytest

from harness.errors import DeadlineExpired, GuestHung
from harness.plugin.watchdog import Watchdog
from harness.steps import step
from harness.waiting import Deadline, bounding, wait_for


class World:
    """A clock and a count of whatever moves, both turned by hand; `bitten` holds what the dog said."""

    def __init__(self) -> None:
        self.now = 100.0
        self.moved = 0
        self.bitten: list[GuestHung] = []
        self.dog = Watchdog(
            lambda: self.moved, self.bitten.append, quiet_seconds=45, look_seconds=3600, clock=lambda: self.now
        )

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.dog.look()


@pytest.fixture
def world() -> World:
    return World()


def test_silence_longer_than_allowed_is_a_hang_told_once(world):
    with world.dog.watching():
        world.after(0)
        world.after(44)
        assert not world.bitten
        world.after(2)
        world.after(60)

    assert [str(hung).partition(":")[0] for hung in world.bitten] == [
        "Nothing moved for 46 s in 'the scenario's own code'"
    ]
    assert world.dog.hung is world.bitten[0]


def test_a_scenario_may_have_a_time_of_its_own_and_the_next_has_the_usual_one(world):
    with world.dog.watching(3):
        world.after(0)
        world.after(4)
    with world.dog.watching():
        world.after(0)
        world.after(44)

    assert [str(hung).partition(" in ")[0] for hung in world.bitten] == ["Nothing moved for 4 s"]


def test_whatever_moves_begins_the_time_anew(world):
    with world.dog.watching():
        for _ in range(10):
            world.moved += 1
            world.after(40)

    assert not world.bitten


def test_a_step_that_begins_is_progress_and_its_own_budget_counts(world):
    with world.dog.watching():
        world.after(40)
        with step("stop the driver", deadline=Deadline(10)):
            world.after(0)
            world.after(9)
            assert not world.bitten
            world.after(2)

    assert "in 'stop the driver'" in world.bitten[0].message


def test_an_inner_step_has_no_more_time_than_its_outer_one(world):
    long = Deadline(60)
    with world.dog.watching(), step("outer", deadline=Deadline(5)), step("inner", deadline=long):
        world.after(0)
        world.after(6)

    assert "in 'inner'" in world.bitten[0].message


def test_steps_of_other_threads_do_not_count_as_the_scenarios(world):
    def elsewhere() -> None:
        with step("a retry in the background"):
            pass

    with world.dog.watching():
        world.after(0)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(10)
        world.after(46)

    assert world.bitten


def test_each_scenario_begins_anew(world):
    with world.dog.watching():
        world.after(0)
        world.after(100)
    with world.dog.watching():
        assert world.dog.hung is None
        world.after(0)
        world.after(10)

    assert len(world.bitten) == 1


def test_a_person_at_the_debugger_has_all_the_time(world, monkeypatch):
    monkeypatch.setattr("harness.plugin.watchdog._DEBUGGERS", {__name__})  # as if this test were the debugger

    with world.dog.watching():
        world.after(0)
        world.after(100)

    assert not world.bitten


def test_it_looks_by_itself():
    bitten = threading.Event()
    dog = Watchdog(lambda: 0, lambda _hung: bitten.set(), quiet_seconds=0.01, look_seconds=0.005)

    with dog.watching():
        assert bitten.wait(20)


def test_a_deadline_bounds_those_that_are_made_inside_of_it():
    with bounding(Deadline(0.05)):
        assert Deadline(60).remaining() <= 0.05
        with bounding(Deadline(60)):
            assert Deadline(60).remaining() <= 0.05, "an inner bound is no way around the outer one"
        with pytest.raises(DeadlineExpired):
            wait_for(lambda: None, Deadline(60), "nothing")
        with bounding(None):
            assert Deadline(60).remaining() > 50
    assert Deadline(60).remaining() > 50


def test_a_steps_deadline_bounds_the_waits_inside():
    with step("outer", deadline=Deadline(0.02)), pytest.raises(DeadlineExpired):
        wait_for(lambda: None, Deadline(60), "nothing")
