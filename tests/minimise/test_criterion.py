"""The criterion says what it says, and refuses with a sentence what it cannot say."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.minimise.criterion import parse_criterion
from harness.minimise.verdict import Verdict
from harness.report import Outcome
from tests.minimise.ledger import CRASH, LOST, PASS

FAIL = Verdict(outcome=Outcome.FAIL, message="The driver broke its contract", rules=("W119", "K-IRQL"), departures=2)
HANG = Verdict(outcome=Outcome.HANG)


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        ("crash", [CRASH]),
        ("hang", [HANG]),
        ("fail", [FAIL]),
        (" not crash ", [FAIL, HANG, PASS]),
        ("outcome == 'CRASH'", [CRASH]),
        ("outcome in ('CRASH', 'HANG')", [CRASH, HANG]),
        ("outcome not in ['CRASH']", [FAIL, HANG, PASS]),
        ("crash and code == 0x139 and module == 'ledger.sys'", [CRASH]),
        ("offset >= 0x1234 and offset < 0x1235", [CRASH]),
        ("symbol == 'release_ledger' or 'W119' in rules", [CRASH, FAIL]),
        ("'W11' in rules", []),
        ("'K-IRQL' in rules and departures < 3", [FAIL]),
        ("code != 0x139", [FAIL, HANG, PASS]),
        ("code < 0x139", []),
        ("'contract' in message", [FAIL]),
        ("'edger' in module", [CRASH]),
        ("crash == True", [CRASH]),
    ],
)
def test_it_holds_of_what_it_says(text: str, verdicts: list[Verdict]) -> None:
    criterion = parse_criterion(text)
    assert [verdict for verdict in (CRASH, FAIL, HANG, PASS, LOST) if criterion.holds(verdict)] == verdicts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crashed", "names 'crashed', which is not known (there is 'crash')"),
        ("code == '0x139'", "compares 'code', a number, with ''0x139'', a text"),
        ("outcome == 'crash'", "asks for the outcome 'crash': those of a driver are FAIL, CRASH and HANG"),
        ("outcome == 'LOST'", "asks for the outcome 'LOST'"),
        ("outcome in ('CRASH', 'PASS')", "asks for the outcome 'PASS'"),
        ("rules == ('W119',)", "contains '('W119',)'"),
        ("7 in rules", "looks for '7' in 'rules', which cannot hold it"),
        ("code", "is a number, wanted true or false"),
        ("crash and code", "takes 'code', a number, for true or false"),
        ("1 < code < 3", "compares more than two things at once"),
        ("crash is True", "compares by 'is'"),
        ("", "cannot be read"),
        ("crash and", "cannot be read"),
        ("__import__('os').system('true')", "contains '__import__('os').system('true')'"),
        ("message.upper() == 'X'", "contains 'message.upper()'"),
        ("(lambda: crash)()", "contains"),
        ("[c for c in rules]", "contains"),
        ("code == 1 + 2", "contains '1 + 2'"),
        ("code == 2 ** 99999999", "contains"),
        ("f'{crash}' == 'x'", "contains"),
        ("crash := True", "cannot be read"),
        ("not " * 60 + "crash", "is nested too deeply"),
        ("crash or " * 400 + "crash", "2000 are allowed"),
        ("(" * 900 + "crash" + ")" * 900, "cannot be read"),
        ("crash\0", "cannot be read"),
        ("code == 1.5", "contains '1.5'"),
        ("code == b'x'", "contains"),
    ],
)
def test_what_it_cannot_say_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_criterion(text)
    assert said in refused.value.message
    assert refused.value.hint


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """And what is taken is a tree of comparisons, and nothing that is called."""
    try:
        criterion = parse_criterion(text)
    except UsageError:
        return
    assert not any(isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)) for node in ast.walk(ast.parse(text)))
    for verdict in (CRASH, FAIL, HANG, PASS):
        criterion.holds(verdict)


def test_pinned_to_a_crash_it_is_that_crash_alone() -> None:
    pinned = parse_criterion("crash").pinned_to(CRASH)
    assert CRASH.crash is not None
    elsewhere = replace(CRASH, crash=replace(CRASH.crash, symbol="other"))
    moved = replace(CRASH, crash=replace(CRASH.crash, offset=0x99))
    another = replace(CRASH, crash=replace(CRASH.crash, code=0xD1))
    assert [pinned.holds(verdict) for verdict in (CRASH, moved, elsewhere, another, FAIL)] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert parse_criterion(pinned.text).holds(CRASH)


def test_pinned_to_a_crash_without_symbols_it_goes_by_the_offset() -> None:
    assert CRASH.crash is not None
    bare = replace(CRASH, crash=replace(CRASH.crash, symbol=""))
    pinned = parse_criterion("crash").pinned_to(bare)
    assert pinned.holds(bare)
    assert not pinned.holds(replace(bare, crash=replace(CRASH.crash, symbol="", offset=0x99)))


def test_pinned_to_a_failure_it_wants_the_same_rules() -> None:
    pinned = parse_criterion("fail").pinned_to(FAIL)
    assert pinned.holds(FAIL)
    assert not pinned.holds(replace(FAIL, rules=("W119",)))


@pytest.mark.parametrize("verdict", [CRASH, FAIL, HANG, PASS, LOST])
def test_a_verdict_survives_its_record(verdict: Verdict) -> None:
    assert Verdict.from_record(verdict.as_record()) == verdict


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"outcome": "CRASH"},
        CRASH.as_record() | {"outcome": "BOOM"},
        CRASH.as_record() | {"crash": {"code": "x"}},
        CRASH.as_record() | {"rules": [1]},
    ],
)
def test_what_is_no_record_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no verdict|no crash|BOOM"):
        Verdict.from_record(record)
