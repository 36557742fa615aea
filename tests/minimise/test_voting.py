"""How many attempts decide, and how often they decide wrongly."""

from __future__ import annotations

import random

import pytest

from harness.minimise.voting import Voting


def vote(voting: Voting, rate: float, chance: random.Random) -> tuple[bool, int]:
    hits = misses = 0
    while (decided := voting.decide(hits, misses)) is None:
        if chance.random() < rate:
            hits += 1
        else:
            misses += 1
    return decided, hits + misses


def test_what_always_failed_is_decided_by_one_attempt() -> None:
    voting = Voting(1.0)
    assert [voting.decide(0, 0), voting.decide(1, 0), voting.decide(0, 1)] == [None, True, False]


@pytest.mark.parametrize("rate", [0.9, 0.7, 0.5, 0.3])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_errors_stay_within_the_stated_confidence(rate: float, confidence: float) -> None:
    """Both kinds, with as many attempts as the test wants: seeded, 4,000 votes each."""
    voting = Voting(rate, confidence, most=10_000)
    chance = random.Random(1)
    votes = 4000
    kept = sum(vote(voting, rate, chance)[0] for _ in range(votes))
    taken = sum(vote(voting, rate / 4, chance)[0] for _ in range(votes))
    by_chance = 3 * (confidence * (1 - confidence) / votes) ** 0.5
    assert 1 - kept / votes <= 1 - confidence + by_chance
    assert taken / votes <= 1 - confidence + by_chance


def test_attempts_end_where_the_user_says() -> None:
    voting = Voting(0.3, 0.99, most=5)
    chance = random.Random(2)
    assert max(vote(voting, 0.3, chance)[1] for _ in range(200)) == 5


def test_what_never_fails_is_soon_thrown_away() -> None:
    """At a rate of one half: in five attempts."""
    voting = Voting(0.5, 0.95)
    assert [voting.decide(0, misses) for misses in range(1, 8)].index(False) < 6
