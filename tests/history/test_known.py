"""Known issues: what they may hide, what they never do, and how a wrong list is told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.history import KnownIssues, load_known_issues
from harness.report import Outcome

TODAY = dt.date(2026, 11, 22)
GOOD = """
[[issue]]
scenario = "scenarios/stream/*"
message = "wanted .* saw"
reason = "ticket 12"
expires = 2026-12-31
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str) -> KnownIssues:
        path = tmp_path / "known-issues.toml"
        path.write_text(text)
        known = load_known_issues(path)
        known.today = TODAY
        return known

    return load


def test_a_failure_that_fits_is_known_and_nothing_else(load) -> None:
    known = load(GOOD)

    def reason(outcome: Outcome, message: str = "wanted 1, saw 2", scenario: str = "scenarios/stream/x.py::t") -> str:
        return known.reason_for(scenario, "reference", outcome, message)

    assert reason(Outcome.FAIL) == "ticket 12"
    assert reason(Outcome.FAIL, message="another one") == ""
    assert reason(Outcome.FAIL, scenario="scenarios/redirect/x.py::t") == ""
    for other in (Outcome.CRASH, Outcome.HANG, Outcome.LOST, Outcome.PASS, Outcome.SKIP):
        assert reason(other) == ""


def test_a_case_is_named_with_its_brackets_or_without(load) -> None:
    text = GOOD.replace("scenarios/stream/*", "a.py::test_b[x-*]")
    assert load(text).reason_for("a.py::test_b[x-1]", "g", Outcome.FAIL, "wanted  saw")
    assert not load(text).reason_for("a.py::test_b[y-1]", "g", Outcome.FAIL, "wanted  saw")
    assert load(GOOD.replace("scenarios/stream/*", "a.py::test_b")).reason_for(
        "a.py::test_b[y-1]", "g", Outcome.FAIL, "wanted  saw"
    )


def test_a_guest_and_an_outcome_narrow_it(load) -> None:
    known = load(GOOD.replace('message = "wanted .* saw"', 'outcome = "LOST"\nguest = "windows-*"'))

    assert known.reason_for("scenarios/stream/x", "windows-11", Outcome.LOST, "")
    assert not known.reason_for("scenarios/stream/x", "reference", Outcome.LOST, "")
    assert not known.reason_for("scenarios/stream/x", "windows-11", Outcome.FAIL, "")


def test_one_that_ran_out_hides_nothing_and_is_told(load) -> None:
    known = load(GOOD)
    known.today = dt.date(2027, 1, 1)

    assert known.reason_for("scenarios/stream/x", "reference", Outcome.FAIL, "wanted 1, saw 2") == ""
    assert "ran out on 2026-12-31" in known.notes()[0]


def test_its_last_day_is_its_own(load) -> None:
    known = load(GOOD)
    known.today = dt.date(2026, 12, 31)
    assert known.reason_for("scenarios/stream/x", "reference", Outcome.FAIL, "wanted 1, saw 2")
    assert known.notes() == []


def test_one_that_matches_nothing_is_told(load) -> None:
    known = load(GOOD)
    assert "is about no scenario of this run" in known.notes()[0]
    known.reason_for("scenarios/stream/x", "reference", Outcome.PASS, "")
    assert "matched nothing in this run; is it mended? 'ticket 12'" in known.notes()[0]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('reason = "ticket 12"', "", "issue 1: key 'reason' is missing."),
        ('reason = "ticket 12"', 'reason = ""', "key 'reason' is ''"),
        ("expires = 2026-12-31", "", "issue 1: key 'expires' is missing."),
        ("expires = 2026-12-31", 'expires = "2026-12-31"', "key 'expires' is '2026-12-31', wanted a date without"),
        ("expires = 2026-12-31", "expires = 2026-12-31T00:00:00", "wanted a date without quotes"),
        ('message = "wanted .* saw"', "", "one of 'outcome' and 'message' is needed"),
        ('message = "wanted .* saw"', 'message = "("', "key 'message' is '(', wanted a regular expression"),
        ('message = "wanted .* saw"', 'outcome = "CRASH"', "a CRASH is never hidden"),
        ('message = "wanted .* saw"', 'outcome = "HANG"', "a HANG is never hidden"),
        ('message = "wanted .* saw"', 'outcome = "PASS"', "key 'outcome' is 'PASS', wanted FAIL or LOST"),
        ('message = "wanted .* saw"', 'mesage = "x"', "key 'mesage' is not known."),
        ('scenario = "scenarios/stream/*"', "scenario = 3", "key 'scenario' is 3, wanted a valid string"),
        ("[[issue]]", "[[issues]]", "key 'issues' is not known; wanted a list [[issue]]"),
        ("[[issue]]", "[issue]", "'issue' is no list"),
        ("[[issue]]", "[[issue]", "is not valid TOML"),
    ],
)
def test_a_wrong_list_names_file_entry_and_key(load, tmp_path: Path, before: str, after: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(GOOD.replace(before, after))
    assert str(tmp_path / "known-issues.toml") in error.value.message
    assert said in error.value.message


def test_a_list_that_is_not_there_is_told_and_none_is_fine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_known_issues(tmp_path / "nowhere.toml")
    assert load_known_issues(None).notes() == []
