"""Scenarios during which the driver breaks its contract, on a bench without a machine."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.report import read_results

pytest_plugins = ["pytester"]

CONFTEST = """
from fake_bench import open_fake

def pytest_wfp_open_bench(options):
    return open_fake(options)
"""
REPORT = {"rule": "W103", "call": "classifyFn", "count": 3, "text": "it left the right", "stack": ["own.sys+0x12"]}


def run(pytester: pytest.Pytester, body: str, *options: str, mark: str = "") -> tuple[int, dict[str, object], Path]:
    pytester.syspathinsert(Path(__file__).parent)
    pytester.makeconftest(CONFTEST)
    line = "wfp-hil: contract: " + json.dumps(REPORT)
    pytester.makepyfile(
        f"""
import pytest
{mark}
def test_it(scene):
    def breach():
        with scene.bench.serial_log.open("a") as log:
            log.write({line!r} + "\\n")
    {body}
"""
    )
    out = pytester.path / "results"
    code = pytester.runpytest("--out", str(out), *options).ret
    records = read_results(out / "results.jsonl") if out.exists() else []
    results = [record for record in records if record["record"] == "result"]
    return int(code), results[0] if results else {}, out


def test_a_broken_contract_fails_a_scenario_whose_expectations_held(pytester: pytest.Pytester) -> None:
    code, attempt, out = run(pytester, "breach()")

    assert code == 1
    assert attempt["outcome"] == "FAIL"
    message = str(attempt["message"])
    assert "The driver broke its contract:" in message
    assert "W103 classifyFn: it left the right (3 times)" in message
    assert "in own.sys+0x12" in message
    assert attempt["breaches"] == [REPORT | {"on_purpose": False}]
    case = ET.parse(out / "junit.xml").find(".//testcase")  # our own file
    assert case is not None
    assert {p.get("name"): p.get("value") for p in case.iter("property")}["breaches"] == "W103 classifyFn"


def test_what_is_left_behind_at_unload_fails_the_scenario(pytester: pytest.Pytester) -> None:
    body = f"scene.bench.says_at_unload = 'wfp-hil: contract: ' + {json.dumps(REPORT)!r} + chr(10)"
    code, attempt, _ = run(pytester, body)

    assert (code, attempt["outcome"], attempt["breaches"]) == (1, "FAIL", [REPORT | {"on_purpose": False}])


def test_what_ends_the_checks_of_the_last_scenario_is_looked_into_while_there_is_a_guest(
    pytester: pytest.Pytester,
) -> None:
    """Its report is made when the bench has been closed, and would find nobody to ask: it would be LOST."""
    body = """
    from harness.errors import DeployError, GuestHung
    def unload():
        scene.bench.broken = GuestHung("The driver does not come back.")
        raise DeployError("It could not be stopped.")
    scene.bench.unload = unload
"""
    code, attempt, _ = run(pytester, body)

    assert (code, attempt["outcome"], attempt["message"]) == (1, "HANG", "The driver does not come back.")
    assert "raise DeployError" in str(attempt["details"])
    assert "dumps" in (pytester.path / "results" / "bench.txt").read_text()


def test_of_a_failure_the_driver_is_not_unloaded(pytester: pytest.Pytester) -> None:
    _, attempt, _ = run(pytester, "breach(); scene.bench.says_at_unload = 'x'; assert 1 == 2")

    assert "assert 1 == 2" in str(attempt["message"])
    assert "unload" not in (pytester.path / "results" / "bench.txt").read_text()


def test_what_was_broken_at_load_is_told_with_the_first_scenario(pytester: pytest.Pytester) -> None:
    line = "wfp-hil: contract: " + json.dumps(REPORT)
    pytester.syspathinsert(Path(__file__).parent)
    pytester.makeconftest(
        f"""
from contextlib import contextmanager
from fake_bench import open_fake

@contextmanager
def loaded(options):
    with open_fake(options) as bench:
        bench.load_mark = bench.serial_size()
        with bench.serial_log.open("a") as log:
            log.write({line!r} + chr(10))
        yield bench

def pytest_wfp_open_bench(options):
    return loaded(options)
"""
    )
    pytester.makepyfile("def test_one(scene): pass\ndef test_two(scene): pass")
    pytester.runpytest("--out", str(pytester.path / "results"))
    records = read_results(pytester.path / "results" / "results.jsonl")

    assert [record["outcome"] for record in records if record["record"] == "result"] == ["FAIL", "PASS"]


def test_told_alone_it_fails_nothing(pytester: pytest.Pytester) -> None:
    code, attempt, out = run(pytester, "breach()", "--contract", "tell")

    assert (code, attempt["outcome"], attempt["breaches"]) == (0, "PASS", [REPORT | {"on_purpose": False}])
    assert "unload" not in (out / "bench.txt").read_text()


def test_a_failure_says_what_was_broken_meanwhile(pytester: pytest.Pytester) -> None:
    _, attempt, _ = run(pytester, "breach(); assert 1 == 2")

    assert "Meanwhile the driver broke its contract:" in str(attempt["message"])


def test_what_is_broken_on_purpose_is_no_failure(pytester: pytest.Pytester) -> None:
    mark = "@pytest.mark.misuse('W103')"
    code, attempt, _ = run(pytester, "breach()", mark=mark)

    assert (code, attempt["outcome"], attempt["breaches"]) == (0, "PASS", [REPORT | {"on_purpose": True}])


def test_a_scenario_that_tries_anything_is_not_judged(pytester: pytest.Pytester) -> None:
    code, attempt, _ = run(pytester, "breach()", mark='@pytest.mark.misuse("any")')
    assert (code, attempt["outcome"]) == (0, "PASS")
    assert attempt["breaches"] == [REPORT | {"on_purpose": True}]


def test_misuse_of_another_rule_is_one(pytester: pytest.Pytester) -> None:
    _, attempt, _ = run(pytester, "breach()", mark="@pytest.mark.misuse('K-POOL')")

    assert attempt["outcome"] == "FAIL"
    assert "W103 classifyFn" in str(attempt["message"])


def test_a_report_that_does_not_come_is_a_failure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.plugin.contract._REPORT_SECONDS", 0.01)
    _, attempt, _ = run(pytester, "pass", mark="@pytest.mark.misuse('W105')")

    assert attempt["outcome"] == "FAIL"
    assert "marked as misuse of W105, and the guest reported no such thing; reported: none" in str(attempt["message"])


def test_a_guest_that_reports_nothing_is_not_waited_for(pytester: pytest.Pytester) -> None:
    body = "scene.bench.facts['contract'] = 'none'"
    _, attempt, _ = run(pytester, body, mark="@pytest.mark.misuse('W105')")

    assert attempt["outcome"] == "PASS"


def test_a_rule_that_does_not_exist_is_a_usage_error(pytester: pytest.Pytester) -> None:
    code, _, _ = run(pytester, "pass", mark="@pytest.mark.misuse('W999')")

    assert code == 2
