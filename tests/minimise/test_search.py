"""A capture of some thousand packets is made small; what was found so far survives whatever ends the search."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.capture import Capture
from harness.errors import HostError, UsageError
from harness.link.headers import RST
from harness.minimise.criterion import parse_criterion
from harness.minimise.search import Search, reproduce
from harness.minimise.tries import Journal, Runner, Tries, key_of
from harness.minimise.verdict import Verdict
from harness.minimise.voting import Voting
from tests.minimise.field import field_capture
from tests.minimise.ledger import CRASH, LOST, PASS, Flaky, judge

CRITERION = parse_criterion("crash")


@pytest.fixture(scope="module")
def capture() -> Capture:
    made = field_capture()
    assert len(made) > 2500
    return made


def tries_of(folder: Path, *runners: Runner, voting: Voting | None = None) -> Tries:
    return Tries(runners, CRITERION, Journal(folder / "tries.jsonl", {"driver": "d1"}), voting=voting)


def test_some_thousand_packets_become_fewer_than_ten(capture: Capture, tmp_path: Path) -> None:
    tries = tries_of(tmp_path, judge)
    found = Search(capture, tries).run()
    assert judge(found) is CRASH
    assert len(found) == 3  # SYN, a segment ahead, RST: the model needs no more
    assert not any(judge(found.keeping(set(found.numbers) - {number})) is CRASH for number in found.numbers)
    last = found.packets[-1].tcp
    assert last is not None
    assert last.flags & RST
    assert sum(one.length for one in found.packets) <= 3 * 40 + 2
    assert tries.made < 60


def test_no_culprit_no_search(tmp_path: Path) -> None:
    innocent = field_capture(culprit=None, connections=20)
    with pytest.raises(UsageError, match=r"never came to 'crash' in 3 attempts; the last one: PASS"):
        reproduce(innocent, tries_of(tmp_path, judge))


def test_an_attempt_that_is_known_is_not_made_again(capture: Capture, tmp_path: Path) -> None:
    first = tries_of(tmp_path, judge)
    found = Search(capture, first).run()

    def never(capture: Capture) -> Verdict:
        raise AssertionError("an attempt was made")

    again = tries_of(tmp_path, never)
    assert Search(capture, again).run() == found
    assert (again.attempts, again.spared) == (0, first.made)


def test_what_was_interrupted_goes_on_where_it_was(capture: Capture, tmp_path: Path) -> None:
    """Ended after each of its tries: the best so far fails, nothing is tried twice, the result is the same."""
    wanted = Search(capture, tries_of(tmp_path / "whole", judge)).run()
    made: list[str] = []
    best = capture
    for _ in range(200):
        left = [1]

        def once(part: Capture, left: list[int] = left) -> Verdict:
            if not left:
                raise KeyboardInterrupt
            left.pop()
            made.append(key_of(part))
            return judge(part)

        search = Search(capture, tries_of(tmp_path / "parts", once))
        try:
            found = search.run()
        except KeyboardInterrupt:
            assert judge(search.best) is CRASH
            assert len(search.best) <= len(best)
            best = search.best
        else:
            break
    else:
        pytest.fail("it never came to its end")
    assert found == wanted
    assert len(made) == len(set(made))


def test_every_better_capture_is_told_at_once(capture: Capture, tmp_path: Path) -> None:
    sizes: list[int] = []
    stages: list[str] = []
    search = Search(capture, tries_of(tmp_path, judge), found=lambda c: sizes.append(len(c)), stage=stages.append)
    found = search.run()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == len(found)
    assert stages == ["conversations", "packets", "bytes"] + ["packets", "bytes"] * (len(stages) // 2 - 1)


def test_pauses_are_left_out_where_they_count(tmp_path: Path) -> None:
    """A driver that crashes on a RST that comes a moment after the data, as the capture has it, and not at once."""
    capture = field_capture(connections=20, culprit=7)

    def slow(part: Capture) -> Verdict:
        at = [packet for packet in part.packets if packet.tcp is not None and packet.tcp.flags & RST]
        numbers = {p.number: q for p, q in zip(part.packets[1:], part.packets, strict=False)}
        waited = any(p.time > numbers[p.number].time for p in at if p.number in numbers)
        return judge(part) if waited else PASS

    found = Search(capture, tries_of(tmp_path, slow), with_pauses=True).run()
    gaps = [after.time - before.time for before, after in zip(found.packets, found.packets[1:], strict=False)]
    assert [gap > 0 for gap in gaps] == [False] * (len(gaps) - 1) + [True]


@pytest.mark.parametrize("rate", [0.8, 0.5])
def test_what_fails_now_and_then_is_found_by_voting(tmp_path: Path, rate: float) -> None:
    capture = field_capture(connections=60, culprit=31)
    flaky = Flaky(rate, seed=3)
    tries = tries_of(tmp_path, flaky)
    seen = reproduce(capture, tries, attempts=10)
    assert 0 < seen.hits < seen.attempts == 10
    tries.voting = Voting(seen.rate)
    found = Search(capture, tries).run()
    assert judge(found) is CRASH
    assert len(found) < 10
    assert flaky.calls < 1000


def test_without_votes_the_same_would_end_larger_but_never_wrong(tmp_path: Path) -> None:
    capture = field_capture(connections=60, culprit=31)
    found = Search(capture, tries_of(tmp_path, Flaky(0.3, seed=3), voting=Voting(1.0))).run()
    assert judge(found) is CRASH


@pytest.mark.parametrize("machines", [2, 3])
def test_machines_side_by_side_find_the_same(capture: Capture, tmp_path: Path, machines: int) -> None:
    """And are at work at the same time."""
    wanted = Search(capture, tries_of(tmp_path / "one", judge)).run()
    meet = threading.Barrier(2)  # the first that are tried are two halves
    met: list[int] = []

    def runner(part: Capture) -> Verdict:
        if not met:
            meet.wait(20)
            met.append(1)
        return judge(part)

    tries = tries_of(tmp_path / "many", *[runner] * machines)
    assert Search(capture, tries).run() == wanted
    assert met


def test_a_lost_attempt_is_no_vote(tmp_path: Path) -> None:
    capture = field_capture(connections=20, culprit=7)
    calls = [0]

    def shaky(part: Capture) -> Verdict:
        calls[0] += 1
        return LOST if calls[0] % 2 else judge(part)

    found = Search(capture, tries_of(tmp_path, shaky)).run()
    assert len(found) == 3


def test_what_was_lost_is_attempted_again(tmp_path: Path) -> None:
    """By a search that goes on later: the first one had given it up."""
    capture = field_capture(connections=20, culprit=7)
    assert not tries_of(tmp_path, lambda part: LOST).fails(capture)
    assert tries_of(tmp_path, judge).fails(capture)


def test_a_host_that_loses_everything_ends_the_search(tmp_path: Path) -> None:
    capture = field_capture(connections=20, culprit=7)
    with pytest.raises(HostError, match=r"4 captures one after the other were lost 3 times each: The machine is gone"):
        Search(capture, tries_of(tmp_path, lambda part: LOST)).run()
    with pytest.raises(HostError, match="was lost"):
        reproduce(capture, tries_of(tmp_path / "again", lambda part: LOST))


def test_another_criterion_reads_the_same_attempts_anew(tmp_path: Path) -> None:
    capture = field_capture(connections=20, culprit=7)
    tries_of(tmp_path, judge).attempt(capture)
    journal = Journal(tmp_path / "tries.jsonl", {"driver": "d1"})
    hang = Tries([judge], parse_criterion("hang"), journal)
    assert not hang.fails(capture)
    assert hang.attempts == 0


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    tries_of(tmp_path, judge)
    with pytest.raises(UsageError, match=r"is of another search: its 'driver' is 'd1', that of this one 'd2'"):
        Journal(tmp_path / "tries.jsonl", {"driver": "d2"})
    (tmp_path / "tries.jsonl").write_text("not json\n")
    with pytest.raises(UsageError, match="is of another search"):
        Journal(tmp_path / "tries.jsonl", {"driver": "d1"})


def test_a_journal_that_a_kill_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    capture = field_capture(connections=8, culprit=3)
    tries = tries_of(tmp_path, judge)
    tries.attempt(capture)
    path = tmp_path / "tries.jsonl"
    whole = path.read_text()
    path.write_text(whole + json.dumps({"capture": 7}) + "\n" + whole.splitlines()[1][:-9])
    again = tries_of(tmp_path, judge)
    smaller = capture.keeping(capture.numbers[1:])
    again.attempt(smaller)
    journal = Journal(path, {"driver": "d1"})
    assert [len(journal.known(key_of(one))) for one in (capture, smaller)] == [1, 1]


def test_the_hash_goes_by_bytes_and_pauses_not_by_numbers_or_dates() -> None:
    capture = field_capture(connections=8, culprit=3)
    later = Capture(tuple(replace(p, number=p.number + 5, time=p.time + 9) for p in capture.packets))
    slower = Capture((*capture.packets[:-1], replace(capture.packets[-1], time=capture.packets[-1].time + 1)))
    assert key_of(capture) == key_of(later)
    assert key_of(capture) != key_of(slower)
