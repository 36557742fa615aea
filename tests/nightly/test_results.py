"""What a night leaves: page, JUnit, summary, exit code; and its state after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.cli.nightly import append_summary
from harness.errors import HostError, UsageError
from harness.history import HistoryStore, KnownIssues, memory_of
from harness.nightly.night import before, cell_seconds, open_night
from harness.nightly.results import exit_code, write_reports
from harness.nightly.state import FILE, CellState, NightState, new_state, read_state, write_state
from tests.nightly.stand_in import make_cell

CRASH = "The guest crashed: bugcheck 0xd1 ({}, 0x2, 0x1, 0x9) DRIVER_IRQL_NOT_LESS_OR_EQUAL in a.sys+{} f at f.c:9."
EVIL = "</script><script>alert(1)</script> @everyone http://evil | **bold**"


def result(name: str, outcome: str, attempt: int = 1, **more: object) -> dict[str, object]:
    return {
        "record": "result", "scenario": f"scenarios/a.py::{name}", "outcome": outcome, "attempt": attempt,
        "guest": "reference", "title": f"{name}.", "seconds": {"call": 1.0}, "started": "2026-11-22T01:00:00+00:00",
        **more,
    }  # fmt: skip


def night(folder: Path, **cells: list[dict[str, object]] | str) -> NightState:
    """A night that ended; a cell's results, or the reason why it was refused."""
    states = []
    for name, content in cells.items():
        state = CellState(id=name, axes={"guest": "reference", "nic": name}, folder=f"cells/{name}")
        if isinstance(content, str):
            state.stage, state.reason, state.folder = "refused", content, ""
        else:
            blamed = any(each["outcome"] in ("FAIL", "CRASH") and not each.get("known") for each in content)
            state.stage, state.exit_code = "finished", int(blamed)
            run = folder / state.folder
            run.mkdir(parents=True)
            records = [{"record": "session", "guest": "reference"}, *content, {"record": "end", "exit_code": 0}]
            (run / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
        states.append(state)
    made = NightState(matrix="/m.toml", title="m", started="2026-11-22", ended="x", cells=states)
    write_state(folder, made)
    return made


def reports(folder: Path, state: NightState, **more) -> tuple[str, ET.Element, str]:
    more = {"before": None, "history": None, "known": KnownIssues(), **more}
    write_reports(folder, state, **more)
    page, junit, summary = (folder / name for name in ("index.html", "junit.xml", "summary.md"))
    return page.read_text(), ET.parse(junit).getroot(), summary.read_text()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    return tmp_path / "1", tmp_path / "2"


def test_what_changed_in_which_cell_comes_first(folders) -> None:
    """The same scenario failed in one cell last night, and now in the other: cells are not mixed up."""
    old, new = folders
    night(old, igb=[result("one", "PASS")], rtl8139=[result("one", "FAIL", message="old")])
    state = night(new, igb=[result("one", "FAIL", message="new")], rtl8139=[result("one", "PASS")])

    page, _, summary = reports(new, state, before=old)

    failing = page[page.index("newly failing") : page.index("newly passing")]
    assert ">igb</a>" in failing
    assert "rtl8139" not in failing
    assert page.index("What changed") < page.index("The matrix") < page.index('class="scenario"')
    assert "**Newly failing: 1**\n\n- PASS → FAIL `scenarios/a.py::one` igb" in summary


def test_a_cell_that_cannot_be_run_is_a_skip_with_its_reason_everywhere(folders) -> None:
    _, new = folders
    state = night(new, igb=[result("one", "PASS")], rtl8139="There is no such thing here.")

    page, junit, summary = reports(new, state)

    assert exit_code(state) == 0
    for text in (page, summary):
        assert "There is no such thing here." in text
    suites = {suite.get("name"): suite for suite in junit}
    assert suites["rtl8139"].get("skipped") == "1"
    assert suites["rtl8139"].get("errors") == "0"
    assert suites["rtl8139"].find("testcase/skipped").get("message") == "There is no such thing here."
    assert suites["igb"].get("tests") == "1"


def test_a_cell_that_came_to_nothing_is_an_error_and_no_pass(folders) -> None:
    _, new = folders
    state = night(new, igb=[result("one", "PASS")], rtl8139=[])
    state.cells[1].exit_code, state.cells[1].reason = 3, "Its run was ended by signal 9 (SIGKILL)."

    page, junit, summary = reports(new, state)

    assert exit_code(state) == 3
    assert junit[1].get("errors") == "1"
    assert "signal 9" in page
    assert "signal 9" in summary
    assert "host or infrastructure" in summary


def test_a_second_attempt_and_a_known_failure_hide_nothing(folders) -> None:
    _, new = folders
    state = night(
        new, igb=[result("one", "LOST", message="QEMU died."), result("one", "PASS", 2),
                  result("two", "FAIL", message="wanted 1", known="TICKET-7")],
    )  # fmt: skip

    page, junit, summary = reports(new, state)

    assert "Tried a second time: 1" in page
    assert "Known failures, which do not count: 1" in page
    assert page.count("TICKET-7") >= 2
    assert page.count("QEMU died.") >= 2
    assert "❓ LOST, then ✅ PASS `scenarios/a.py::one`" in summary
    assert "❌ FAIL (known: TICKET-7)" in summary
    assert junit[0].get("failures") == "0"
    assert junit.find(".//flakyError").get("message") == "QEMU died."


def test_crashes_are_one_bug_by_code_and_place_whatever_the_parameters(folders, tmp_path: Path) -> None:
    old, new = folders
    night(old, igb=[result("one", "CRASH", message=CRASH.format("0x1", "0x10"), started="2026-11-20T01:00:00+00:00")])
    state = night(
        new, igb=[result("one", "CRASH", message=CRASH.format("0xffff", "0x20")),
                  result("two", "CRASH", message=CRASH.format("0x3", "0x20").replace("f at f.c", "g at g.c"))],
    )  # fmt: skip
    with HistoryStore(tmp_path / "h.sqlite") as store:
        for folder in (old, new):
            store.add_run(folder / "cells" / "igb")
        memory = memory_of(store.pasts())

    signature = "0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL in a.sys!f"
    assert {name: past.count for name, past in memory.crashes.items()} == {signature: 2, signature[:-1] + "g": 1}
    assert memory.crashes[signature].first.startswith("2026-11-20")
    assert memory.crashes[signature].last.startswith("2026-11-22")
    page, _, _ = reports(new, state, before=old, history=tmp_path / "h.sqlite")
    news = page[page.index("new crash") : page.index("Crashes, second attempts")]
    assert "a.sys!g" in news
    assert "a.sys!f" not in news


def test_the_history_lists_crashes_by_signature(folders, tmp_path: Path, capsys) -> None:
    old, new = folders
    night(old, igb=[result("one", "CRASH", message=CRASH.format("0x1", "0x10"), started="2026-11-20T01:00:00+00:00")])
    night(new, igb=[result("two", "CRASH", message=CRASH.format("0x2", "0x99"))])
    file = tmp_path / "h.sqlite"
    with HistoryStore(file) as store:
        for folder in (old, new):
            store.add_run(folder / "cells" / "igb")

    done = CliRunner().invoke(app, ["history", "--crashes", "--history", str(file), "--json"])

    (crash,) = json.loads(done.stdout)
    assert crash["signature"] == "0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL in a.sys!f"
    assert (crash["count"], crash["first_seen"][:10], crash["last_seen"][:10]) == (2, "2026-11-20", "2026-11-22")
    assert crash["scenarios"] == ["scenarios/a.py::one", "scenarios/a.py::two"]
    shown = CliRunner().invoke(app, ["history", "--crashes", "--history", str(file)])
    assert "2 times, first seen 2026-11-20T01:00, last seen 2026-11-22T01:00" in shown.stdout


def test_what_a_guest_says_stays_text_in_the_summary_and_the_page(folders) -> None:
    _, new = folders
    state = night(new, igb=[result("one", "FAIL", message=EVIL)])

    page, _, summary = reports(new, state)

    assert EVIL not in page
    assert page.count("<script>") == 1
    for bad in ("<script", "@everyone", "http://", "**bold", " | **"):
        assert bad not in summary.split("What did not pass")[1]


def test_an_interrupted_night_is_no_pass(folders) -> None:
    _, new = folders
    state = night(new, igb=[result("one", "PASS")], rtl8139=[])
    state.cells[1].stage = "waiting"

    page, _, _ = reports(new, state)

    assert exit_code(state) == 130
    assert "It has not run yet" in page


# ---- nights that are killed, and what is left of them ----


@pytest.mark.timeout(600)  # five processes, one after the other
def test_a_state_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    """The writer is killed while it writes as fast as it can; what is there can be read each time."""
    code = (
        "import sys; from pathlib import Path; from harness.nightly.state import *\n"
        "cells = [CellState(id=f'c{n}', axes={}, reason='y' * 2000) for n in range(200)]\n"
        "state = NightState(matrix='m', title='t', started='s', cells=cells)\n"
        "write_state(Path(sys.argv[1]), state); print('ready', flush=True)\n"
        "while True: write_state(Path(sys.argv[1]), state)\n"
    )
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            writer.send_signal(signal.SIGKILL)
            writer.wait(30)
        assert len(read_state(tmp_path).cells) == 200


def test_who_reads_the_state_while_it_is_written_has_the_old_one_whole(tmp_path: Path) -> None:
    state = new_state(Path("m.toml"), "m", [make_cell("a", "pass")])
    write_state(tmp_path, state)
    old = (tmp_path / FILE).read_text()

    with (tmp_path / FILE).open() as reader:
        state.title = "another"
        write_state(tmp_path, state)
        assert reader.read() == old
    assert read_state(tmp_path).title == "another"


def test_the_last_night_goes_on_unless_another_is_asked_for_or_it_ended(tmp_path: Path) -> None:
    matrix, cells = tmp_path / "m.toml", [make_cell("a", "pass"), make_cell("b", "pass")]
    with open_night(tmp_path, matrix, "m", cells, again=False) as (first, state):
        state.cells[0].stage, state.cells[0].exit_code, state.cells[0].seconds = "finished", 0, 12.0
        write_state(first, state)
    with open_night(tmp_path, matrix, "m", cells, again=False) as (second, state):
        assert second == first
        assert [each.stage for each in state.cells] == ["finished", "waiting"]
        with (
            pytest.raises(UsageError, match="runs at this moment"),
            open_night(tmp_path, matrix, "m", cells, again=False),
        ):
            pass
    with open_night(tmp_path, matrix, "m", cells, again=True) as (third, state):
        assert third != first
        assert [each.stage for each in state.cells] == ["waiting", "waiting"]
        state.ended = "x"
        write_state(third, state)
    third.rename(third.with_name("99999999-000000-0000"))
    with open_night(tmp_path, matrix, "m", cells, again=False) as (fourth, _):
        assert fourth not in (first, third)
    assert cell_seconds(tmp_path) == {("a", 1): [12.0]}
    assert before(tmp_path, tmp_path / "99999999-999999-0000", matrix) == third.with_name("99999999-000000-0000")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"version": 99, "cells": 7}', "has version 99; this wfp-hil knows 2"),
        ('{"version": 1', "cannot be read as the state of a night"),
        ('{"version": 1, "cells": [{}]}', "cannot be read as the state of a night"),
        ("[]", "cannot be read as the state of a night"),
    ],
)
def test_a_state_that_cannot_be_used_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(UsageError, match=said) as refused:
        read_state(tmp_path)
    assert "--again" in str(refused.value.hint)


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    state = new_state(Path("m.toml"), "m", [make_cell("a", "pass")])
    write_state(tmp_path, state)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    state.title = "another"
    with pytest.raises(HostError, match="No space left"):
        write_state(tmp_path, state)
    assert read_state(tmp_path).title == "m"
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_summary_goes_where_githubs_runner_wants_it(tmp_path: Path, monkeypatch) -> None:
    made, step = tmp_path / "summary.md", tmp_path / "step"
    made.write_text("it\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    append_summary(made, None)
    append_summary(made, None)
    assert step.read_text() == "it\nit\n"
    append_summary(made, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "it\n"
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    append_summary(made, None)
    with pytest.raises(HostError, match="cannot be appended"):
        append_summary(made, tmp_path / "no" / "mine")
