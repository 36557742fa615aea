"""Reports of broken contracts, from a guest that is not trusted; and places in a driver by function and line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.driver.build import build_all
from harness.driver.contract import KERNEL_RULES, parse_breaches, read_breaches
from harness.driver.guest_record import Frame
from harness.driver.symbols import Symbols

GOOD = {
    "rule": "W119",
    "call": "FwpsRedirectHandleCreate0",
    "count": 1,
    "text": "once is enough",
    "stack": ["a.sys+0x1f"],
}


def line(**changes: object) -> str:
    return "wfp-hil: contract: " + json.dumps(GOOD | changes)


def test_a_report_is_read_with_its_stack() -> None:
    (breach,), unreadable = parse_breaches(["boot", line(), "[ 1.0] wfp-hil: model: something else"])

    assert unreadable == 0
    assert (breach.rule, breach.call, breach.text, breach.count) == (*list(GOOD.values())[:2], "once is enough", 1)
    assert breach.stack == (Frame("a.sys", 0x1F),)
    assert str(breach) == "W119 FwpsRedirectHandleCreate0: once is enough"


def test_reports_of_one_place_are_one_breach_with_the_highest_count() -> None:
    breaches, _ = parse_breaches([line(), line(count=10, text="ten"), line(stack=["a.sys+0x20"]), line(count=100)])

    assert [breach.count for breach in breaches] == [100, 1]
    assert str(breaches[0]).endswith("once is enough (100 times)")


@pytest.mark.parametrize("rule", KERNEL_RULES)
def test_rules_of_the_kernel_are_known(rule: str) -> None:
    assert parse_breaches([line(rule=rule)])[0][0].rule == rule


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "W1"},
        {"rule": "X119"},
        {"rule": 119},
        {"call": "a call"},
        {"call": "x" * 65},
        {"count": 0},
        {"count": -1},
        {"count": "1"},
        {"count": True},
        {"count": 10**30},
        {"text": "a\x1b[2Jb"},
        {"text": "x" * 401},
        {"text": None},
        {"stack": "a.sys+0x1"},
        {"stack": [1]},
        {"stack": ["../../a.sys+0x1"]},
        {"stack": ["a.sys+1"]},
    ],
)
def test_what_is_no_report_is_counted_and_not_kept(changes: dict[str, object]) -> None:
    assert parse_breaches([line(**changes)]) == ((), 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "{" + '"a":' * 1000, "1" * 5000])
def test_broken_json_is_no_report(text: str) -> None:
    assert parse_breaches(["wfp-hil: contract: " + text]) == ((), 1)


@given(st.text())
def test_no_line_is_an_error(text: str) -> None:
    parse_breaches(["wfp-hil: contract: " + text])


def test_what_was_said_before_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    log.write_text(line() + "\n")
    before = log.stat().st_size
    log.write_text(line() + "\n" + line(rule="W120") + "\n")

    assert [breach.rule for breach in read_breaches(log, before)[0]] == ["W120"]
    assert read_breaches(tmp_path / "none") == ((), 0)


def test_a_place_has_a_function_and_a_line() -> None:
    driver = build_all()["wfpcallout.sys"]
    debug = driver.parent.parent / "wfpcallout.debug"
    listing = subprocess.run(["x86_64-w64-mingw32-nm", debug], check=True, capture_output=True, text=True).stdout
    (address,) = [int(row.split()[0], 16) for row in listing.splitlines() if row.endswith(" t act")] or [
        int(row.split()[0], 16) for row in listing.splitlines() if row.endswith(" T classify")
    ]
    name = Symbols(driver).name(address + 1 - 0x140000000)

    assert name.partition(" at ")[0] in ("act", "classify")
    assert name.partition(" at ")[2].startswith("classify.c:")


def test_without_debug_information_a_place_stays_what_it_is(tmp_path: Path) -> None:
    driver = tmp_path / "wfpcallout.sys"
    driver.write_bytes(build_all()["wfpcallout.sys"].read_bytes())

    assert Symbols(driver).name(0x1000) == ""
    assert Symbols(tmp_path / "none.sys").name(0x1000) == ""
