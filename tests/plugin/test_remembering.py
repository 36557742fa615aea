"""Known issues and the history in a run: what they change of it, and what they never do."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.history import HistoryStore, gather
from harness.report import read_results

pytest_plugins = ["pytester"]

CONFTEST = """
from fake_bench import open_fake

def pytest_wfp_open_bench(options):
    return open_fake(options)
"""
BODY = """
from harness.errors import *
def test_passes(driver):
    pass
def test_fails(driver):
    raise ExpectationFailed("wanted 1 frame, saw 2")
"""
KNOWN = """
[[issue]]
scenario = "*::test_fails"
message = "wanted 1 frame"
reason = "ticket 12"
expires = 2999-12-31
"""


@pytest.fixture
def run(pytester: pytest.Pytester):
    def run(body: str, *options: str, known: str = KNOWN):
        pytester.makeconftest(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{CONFTEST}")
        pytester.makepyfile(body)
        (pytester.path / "known-issues.toml").write_text(known)
        out = pytester.path / "results"
        result = pytester.runpytest("--out", str(out), "--history", str(pytester.path / "h.sqlite"), *options)
        return result, read_results(out / "results.jsonl") if out.exists() else [], out

    return run


def results(records):
    return {r["scenario"].partition("::")[2]: (r["outcome"], r["known"]) for r in records if r["record"] == "result"}


def test_a_known_failure_is_shown_as_what_it_was_and_does_not_count(run) -> None:
    result, records, out = run(BODY)

    assert result.ret == 0
    assert results(records) == {"test_passes": ("PASS", ""), "test_fails": ("FAIL", "ticket 12")}
    assert records[-1]["exit_code"] == 0
    shown = result.stdout.str()
    assert "1 PASS, 1 FAIL (1 known)" in shown
    assert "known: ticket 12" in shown
    suite = ET.parse(out / "junit.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")
    [skipped] = suite.iter("skipped")
    assert skipped.get("message", "").startswith("Known: ticket 12 It was: wanted 1 frame, saw 2")


def test_another_failure_beside_it_counts(run) -> None:
    result, _, _ = run(BODY + "def test_worse(driver):\n    raise ExpectationFailed('worse')\n")

    assert result.ret == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [("GuestCrashed('wanted 1 frame', code=0xD1)", "CRASH"), ("GuestHung('wanted 1 frame')", "HANG")],
)
def test_a_crash_and_a_hang_are_never_hidden(run, error: str, outcome: str) -> None:
    result, records, _ = run(BODY.replace('ExpectationFailed("wanted 1 frame, saw 2")', error))

    assert result.ret == 1
    assert results(records)["test_fails"] == (outcome, "")


def test_one_that_ran_out_hides_nothing_and_says_so(run) -> None:
    result, _, _ = run(BODY, known=KNOWN.replace("2999", "2020"))

    assert result.ret == 1
    assert "ran out on 2020-12-31: it hides nothing any more." in result.stdout.str()


def test_one_that_matched_nothing_says_so(run) -> None:
    result, _, _ = run(BODY, "-k", "passes")
    assert "is about no scenario of this run" in result.stdout.str()
    result, _, _ = run(BODY.replace("saw 2", "saw 2").replace("raise Expectation", "ExpectationFailed; Expectation"))
    assert result.ret == 0
    assert "matched nothing in this run; is it mended?" in result.stdout.str()


def test_a_wrong_list_ends_the_run_before_anything_runs(run) -> None:
    result, records, out = run(BODY, known=KNOWN.replace("reason", "reasen"))

    assert result.ret == 2
    assert not records
    assert "key 'reasen' is not known." in result.stdout.str() + result.stderr.str()
    assert not (out / "results.jsonl").exists()


def test_every_run_goes_into_the_history(run, pytester: pytest.Pytester) -> None:
    run(BODY)
    run(BODY, "--out", str(pytester.path / "second"))

    with HistoryStore(pytester.path / "h.sqlite") as store:
        records = {record.scenario.partition("::")[2]: record for record in gather(store.pasts())}
        assert store.runs() == 2
    assert [past.outcome for past in records["test_fails"].pasts] == ["FAIL", "FAIL"]
    assert records["test_fails"].last.known == "ticket 12"
    assert records["test_passes"].last.driver == "fake.sys"


@pytest.mark.timeout(600)  # three processes of pytest, which share a busy host
def test_workers_share_one_history(run, pytester: pytest.Pytester) -> None:
    result = None
    pytester.makeconftest(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{CONFTEST}")
    pytester.makepyfile(BODY)
    (pytester.path / "known-issues.toml").write_text(KNOWN)
    history = pytester.path / "h.sqlite"
    result = pytester.runpytest_subprocess("-n", "2", "--out", "results", "--history", str(history))

    assert result.ret == 0
    with HistoryStore(history) as store:
        assert store.runs() == 1
        assert len(list(store.pasts())) == 2


def test_a_history_that_cannot_be_written_does_not_end_a_run(run, pytester: pytest.Pytester) -> None:
    (pytester.path / "h.sqlite").mkdir()

    result, _, _ = run(BODY)

    assert result.ret == 0
    assert "The history has not got this run: " in result.stdout.str()


def test_it_can_be_off(run, pytester: pytest.Pytester) -> None:
    run(BODY, "--history", "off")
    assert not (pytester.path / "h.sqlite").exists()


def test_what_was_asked_of_verifier_firewall_and_processors_is_kept_with_the_results(
    run, pytester: pytest.Pytester
) -> None:
    _, plain, _ = run("def test_passes(driver): pass")
    for used in (pytester.path / "results").iterdir():
        used.unlink() if used.is_file() else None
    _, asked, _ = run(
        "def test_passes(driver):\n    pass  # again", "--verifier", "standard", "--firewall", "on", "--vcpus", "2"
    )

    (as_it_is,) = (record for record in plain if record["record"] == "session")
    (session,) = (record for record in asked if record["record"] == "session")
    assert not {"verifier", "firewall", "vcpus"} & set(as_it_is)
    assert (session["verifier"], session["firewall"], session["vcpus"]) == ("standard", "on", 2)
    with HistoryStore(pytester.path / "h.sqlite") as store:
        kept = [past.circumstances for past in store.pasts()]
    assert kept == [("", "", "", ""), ("", "standard", "on", "2")]
