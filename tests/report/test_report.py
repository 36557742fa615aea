"""Results on disk and in the terminal."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness import steps
from harness.errors import (
    DriverStartError,
    ExpectationFailed,
    GuestCrashed,
    GuestHung,
    HostError,
    MachineLost,
    UsageError,
)
from harness.report import (
    Attempt,
    LiveView,
    Outcome,
    ResultsWriter,
    exit_code,
    outcome_of,
    read_results,
    slug,
    write_junit,
)
from harness.steps import step, subscribe


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ExpectationFailed("x"), Outcome.FAIL),
        (AssertionError("x"), Outcome.FAIL),
        (DriverStartError("x"), Outcome.FAIL),
        (pytest.fail.Exception("DID NOT RAISE"), Outcome.FAIL),
        (pytest.fail.Exception("Timeout (>120.0s) from pytest-timeout."), Outcome.HANG),
        (GuestCrashed("x", code=1), Outcome.CRASH),
        (GuestHung("x"), Outcome.HANG),
        (MachineLost("x"), Outcome.LOST),
        (HostError("x"), Outcome.LOST),
        (KeyError("x"), Outcome.LOST),
    ],
)
def test_only_the_driver_is_blamed_for_what_the_driver_did(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome
    assert outcome.blames_driver is (outcome in {Outcome.FAIL, Outcome.CRASH, Outcome.HANG})


@pytest.mark.parametrize(
    ("outcomes", "errors", "code"),
    [
        ([Outcome.PASS, Outcome.SKIP], [], 0),
        ([Outcome.PASS, Outcome.LOST, Outcome.HANG], [], 1),
        ([Outcome.PASS, Outcome.LOST], [], 3),
        ([Outcome.LOST], [UsageError("x")], 2),
        ([], [], 0),
    ],
)
def test_exit_codes(outcomes: list[Outcome], errors: list[BaseException], code: int) -> None:
    assert exit_code(outcomes, errors) == code


def test_a_record_is_on_disk_before_the_writer_is_closed(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "new" / "results.jsonl")
    writer.start("a.py::test_a")

    assert read_results(writer.path) == [{"record": "start", "scenario": "a.py::test_a", "attempt": 1}]
    writer.close()


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"record": "start"}\n{"record": "res')

    assert read_results(path) == [{"record": "start"}]


def test_a_folder_that_cannot_be_written_is_a_host_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(HostError, match="cannot be written"):
        ResultsWriter(tmp_path / "file" / "results.jsonl")


def test_a_disk_that_becomes_full_is_told_and_leaves_whole_records(tmp_path: Path) -> None:
    """/dev/full takes what is opened and refuses what is written."""
    (tmp_path / "results.jsonl").symlink_to("/dev/full")
    writer = ResultsWriter(tmp_path / "results.jsonl")
    writer.start("a")
    writer.result(attempt(Outcome.PASS))
    writer.close()

    assert writer.broken is not None
    assert "could no longer be written" in writer.broken.message
    assert "No space left on device" in writer.broken.message
    assert len(writer.attempts) == 1


def attempt(outcome: Outcome, message: str = "", number: int = 1, name: str = "a") -> Attempt:
    return Attempt(
        scenario=f"scenarios/redirect/test_x.py::test_{name}",
        outcome=outcome,
        title="Title.",
        attempt=number,
        guest="reference",
        rules=("W120",),
        message=message,
        details=f"{message} in full",
        seconds={"setup": 0.5, "call": 0.25},
    )


def test_junit_counts_last_attempts_and_keeps_whole_messages(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    attempts = [
        attempt(Outcome.FAIL, "first try"),
        attempt(Outcome.PASS, number=2),
        attempt(Outcome.CRASH, "bugcheck \x00 <0xd1>", name="b"),
        attempt(Outcome.LOST, "QEMU died", name="c"),
        attempt(Outcome.SKIP, "not here", name="d"),
    ]

    write_junit(path, attempts, {"guest": "reference", "nic": "e1000e"})

    suite = ET.parse(path).getroot()[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    failure = suite.find(".//failure")
    assert failure is not None
    assert failure.get("type") == "CRASH"
    assert failure.get("message") == "bugcheck ? <0xd1>"
    assert failure.text == "bugcheck ? <0xd1> in full"
    assert [p.get("value") for p in suite.findall("properties/property")] == ["reference", "e1000e"]
    assert all(case.find("properties/property[@name='guest']") is not None for case in suite.findall("testcase"))
    assert suite[1].get("classname") == "scenarios.redirect.test_x"


@pytest.mark.parametrize(
    ("scenario", "name"),
    [
        ("scenarios/redirect/test_x.py::test_y", "redirect.test_x.test_y"),
        ("scenarios/a/test_x.py::test_y[tcp/80 a]", "a.test_x.test_y.tcp.80.a"),
    ],
)
def test_folders_are_named_after_the_scenario(scenario: str, name: str) -> None:
    assert slug(scenario) == name


def test_the_view_tells_steps_before_and_results_during_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()
    monkeypatch.setattr(steps, "time", SimpleNamespace(monotonic=lambda: next(seconds) / 2))
    text = io.StringIO()
    view = LiveView(Console(file=text, width=200))
    unsubscribe = subscribe(view.step)
    view.start()
    view.begin("test_a")
    with step("prepare guest 'reference'"), step("boot the guest"), step("an inner step"):
        pass
    with step("fence"):
        pass
    view.result(attempt(Outcome.FAIL, "wanted none, saw one"))
    view.stop()
    unsubscribe()

    said = text.getvalue()
    assert "boot the guest: 1.5 s" in said
    assert "prepare guest 'reference': 2.5 s" in said
    assert "inner step" not in said
    assert "fence" not in said
    assert "FAIL   0.75 s  Title." in said
    assert "wanted none, saw one" in said
