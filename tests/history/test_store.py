"""The history: what runs leave in it, side by side and again, and what it says of scenarios."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import HostError, UsageError
from harness.history import HistoryStore, Record, gather, history_path
from harness.history import store as store_module
from harness.history.record import recent

SCENARIO = "scenarios/redirect/test_redirect.py::test_it[ipv4]"
RUNNER = CliRunner()

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    count = iter(range(100000))

    def write(
        *outcomes: str, driver: str = "a", image: str = "i", guest: str = "reference", scenario=SCENARIO,
        under: dict[str, object] | None = None, **more,
    ):  # fmt: skip
        number = next(count)
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        session = {
            "record": "session",
            "guest": guest,
            "image": image,
            "driver": "my.sys",
            "driver_sha256": driver * 64,
        } | (under or {})
        lines: list[dict[str, object]] = [session | {"driver_version": f"1.0.0.{ord(driver)}", "harness": "0.1.0"}]
        for place, outcome in enumerate(outcomes):
            started = f"2026-11-22T02:{number % 60:02d}:{place:02d}.000+00:00"
            lines.append({"record": "start", "scenario": scenario, "attempt": place + 1})
            lines.append(
                {"record": "result", "scenario": scenario, "attempt": place + 1, "outcome": outcome, "guest": guest,
                 "started": started, "seconds": {"call": 1.5, "setup": 0.5}, "message": f"{outcome} happened", **more}
            )  # fmt: skip
        lines.append({"record": "end", "exit_code": 0})
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return write


@pytest.fixture
def store(tmp_path: Path):
    with HistoryStore(tmp_path / "state" / "history.sqlite") as store:
        yield store


def only(store: HistoryStore) -> Record:
    [record] = gather(store.pasts())
    return record


def test_a_run_is_kept_with_what_it_ran_on(store: HistoryStore, write_run: WriteRun) -> None:
    folder = write_run("PASS", "FAIL", seed=7, known="yes")

    assert store.add_run(folder) == 2
    [first, second] = store.pasts()

    assert (first.scenario, first.guest, first.image) == (SCENARIO, "reference", "i")
    assert (first.driver, first.driver_sha256, first.driver_version) == ("my.sys", "a" * 64, "1.0.0.97")
    assert (second.outcome, second.message, second.seconds) == ("FAIL", "FAIL happened", 2.0)
    assert (second.seed, second.known) == ("7", "yes")
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_run_that_comes_again_is_not_counted_twice(store: HistoryStore, write_run: WriteRun) -> None:
    folder = write_run("PASS", "PASS")
    store.add_run(folder)
    whole = (folder / "results.jsonl").read_text()
    moved = folder.rename(folder.with_name("moved"))

    assert store.add_run(moved / "results.jsonl") == 2
    assert store.runs() == 1
    assert len(only(store).pasts) == 2
    # What was cut off the first time is there the second time.
    (moved / "results.jsonl").write_text(whole + whole.splitlines()[2].replace('"attempt": 1', '"attempt": 3') + "\n")
    assert store.add_run(moved) == 3
    assert store.runs() == 1


def test_a_killed_run_leaves_what_it_was_at(store: HistoryStore, write_run: WriteRun) -> None:
    folder = write_run("PASS")
    results = folder / "results.jsonl"
    lines = results.read_text().splitlines()[:-1]
    lines.append('{"record": "start", "scenario": "scenarios/x.py::test_y", "attempt": 1}')
    results.write_text("\n".join(lines) + '\n{"record": "resu')

    assert store.add_run(folder) == 2
    [killed] = store.pasts(scenario="test_y")
    assert killed.outcome == "LOST"
    assert killed.message == "The run was killed while it ran."


def test_several_machines_keep_their_own_facts(store: HistoryStore, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text(
        '{"record": "session", "guest": "windows-11", "machine": "gw0", "driver": "w.sys"}\n'
        '{"record": "session", "guest": "reference", "machine": "gw1", "driver": "r.sys"}\n'
        '{"record": "result", "scenario": "a", "outcome": "PASS", "guest": "windows-11", "machine": "gw0"}\n'
        '{"record": "result", "scenario": "b", "outcome": "PASS", "guest": "reference"}\n'
    )

    store.add_run(results)

    assert {(past.scenario, past.driver) for past in store.pasts()} == {("a", "w.sys"), ("b", "r.sys")}


def test_it_is_asked_by_scenario_guest_and_driver(store: HistoryStore, write_run: WriteRun) -> None:
    store.add_run(write_run("PASS", driver="a"))
    store.add_run(write_run("PASS", driver="b", guest="windows-11"))
    store.add_run(write_run("PASS", driver="b", scenario="scenarios/other.py::test_other"))

    assert len(list(store.pasts(scenario="test_it[ipv4]"))) == 2
    assert len(list(store.pasts(scenario="%"))) == 0
    assert len(list(store.pasts(guest="windows-11"))) == 1
    assert len(list(store.pasts(driver="BBBB"))) == 2
    assert len(list(store.pasts(driver="1.0.0.97"))) == 1
    assert len(list(store.pasts(driver="my.sys"))) == 3


def test_the_flake_rate_compares_only_what_is_the_same(store: HistoryStore, write_run: WriteRun) -> None:
    store.add_run(write_run("PASS", "PASS", "FAIL", "PASS", "SKIP", "LOST"))
    assert (only(store).flaked, only(store).comparable, only(store).flake_rate) == (1, 4, 0.25)

    store.add_run(write_run("FAIL", driver="b"))  # alone
    store.add_run(write_run("FAIL", image="j"))
    store.add_run(write_run("FAIL", seed=2))
    assert only(store).flake_rate == 0.25
    store.add_run(write_run("HANG", seed=2))
    assert (only(store).flaked, only(store).comparable) == (2, 6)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"verifier": "off"}, {"verifier": "standard"}, ("verifier off", "verifier standard")),
        ({}, {"verifier": "standard"}, ("verifier as it is", "verifier standard")),
        ({"firewall": "on"}, {"firewall": "off"}, ("firewall on", "firewall off")),
        ({"nic": "igb"}, {"nic": "e1000e"}, ("igb", "e1000e")),
        ({"vcpus": 2}, {}, ("processors 2", "processors as it is")),
    ],
)
def test_what_differs_in_its_circumstances_is_neither_a_flake_nor_a_build_that_broke_it(
    store: HistoryStore, write_run: WriteRun, tmp_path: Path, one: dict, other: dict, told: tuple[str, str]
) -> None:
    """Two cells of a night: the same scenario, image and driver always passes in one and always fails in the other."""
    for driver in "ab":
        store.add_run(write_run("PASS", driver=driver, under=one))
        store.add_run(write_run("FAIL", driver=driver, under=other))
    store.add_run(write_run("PASS", driver="b", under=one))

    records = {record.last.outcome: record for record in gather(store.pasts())}
    assert (records["PASS"].flaked, records["PASS"].comparable, records["PASS"].first_bad) == (0, 2, None)
    assert records["FAIL"].flake_rate is None
    bad = records["FAIL"].first_bad
    assert bad is not None
    assert (bad.last_good, bad.first_bad.driver_sha256[0]) == (None, "a")  # it never passed so: no build broke it

    every = RUNNER.invoke(app, ["history", "--history", str(store.path)], env={"COLUMNS": "300"}).output
    assert all(words in every for words in told)
    each = RUNNER.invoke(app, ["history", "test_it", "--history", str(store.path)], env={"COLUMNS": "300"}).output
    assert each.count("on guest 'reference'") == 2
    data = json.loads(RUNNER.invoke(app, ["history", "--json", "--history", str(store.path)]).output)
    (name,) = {**one, **other}
    assert {record[name] for record in data} == {str(each.get(name, "")) for each in (one, other)}


def test_nothing_to_compare_is_no_rate(store: HistoryStore, write_run: WriteRun) -> None:
    store.add_run(write_run("PASS"))
    store.add_run(write_run("FAIL", driver="b"))

    assert only(store).flake_rate is None


def test_the_first_bad_build_follows_the_last_good_one(store: HistoryStore, write_run: WriteRun) -> None:
    for driver, outcome in (("a", "FAIL"), ("b", "PASS"), ("c", "LOST"), ("c", "CRASH"), ("d", "FAIL"), ("d", "SKIP")):
        store.add_run(write_run(outcome, driver=driver))

    bad = only(store).first_bad
    assert bad is not None
    assert bad.last_good is not None
    assert (bad.last_good.driver_sha256[0], bad.first_bad.driver_sha256[0]) == ("b", "c")
    assert not bad.same_build
    assert bad.first_bad.outcome == "CRASH"

    store.add_run(write_run("PASS", driver="e"))
    assert only(store).first_bad is None
    store.add_run(write_run("FAIL", driver="e"))
    again = only(store).first_bad
    assert again is not None
    assert again.same_build


def test_one_that_never_passed_is_bad_from_its_first_build(store: HistoryStore, write_run: WriteRun) -> None:
    store.add_run(write_run("FAIL", driver="a"))
    store.add_run(write_run("HANG", driver="b"))

    bad = only(store).first_bad
    assert bad is not None
    assert bad.last_good is None
    assert bad.first_bad.driver_sha256[0] == "a"
    assert recent(only(store).pasts, 1) == "H"


WRITER = """
import sys
from pathlib import Path
from harness.history import HistoryStore
for folder in sys.argv[2:]:
    with HistoryStore(Path(sys.argv[1])) as store:
        store.add_run(Path(folder))
"""


def test_runs_that_end_at_once_all_get_in(tmp_path: Path, write_run: WriteRun) -> None:
    path = tmp_path / "new" / "history.sqlite"
    folders = [str(write_run("PASS", "FAIL", driver=chr(97 + number))) for number in range(24)]
    folders += [str(write_run("PASS"))] * 4  # and some of them the same one

    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), *folders[start::4]], stderr=subprocess.PIPE)
        for start in range(4)
    ]
    said = [(writer.communicate(timeout=100)[1], writer.returncode) for writer in writers]

    assert said == [(b"", 0)] * 4
    with HistoryStore(path) as store:
        assert store.runs() == 25
        assert len(list(store.pasts())) == 49


def test_a_new_file_is_waited_for_while_another_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    looks: list[bool | None] = []

    def wait_for(check: Callable[[], bool | None], *_: object) -> None:
        looks.append(check())
        other.execute("COMMIT")
        looks.append(check())

    monkeypatch.setattr(store_module, "wait_for", wait_for)
    with HistoryStore(path) as store:
        assert store.runs() == 0

    other.close()
    assert looks == [None, True]


def test_a_newer_file_is_left_alone(store: HistoryStore) -> None:
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()

    with pytest.raises(UsageError, match="has version 3 of its tables; this wfp-hil knows 2"):
        HistoryStore(store.path)


def test_what_is_no_history_is_told(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be taken for one" * 20)

    with pytest.raises(HostError, match="cannot be used: file is not a database"):
        HistoryStore(path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[1]\n', "no JSON object"),
        ('{"record": "result", "scenario": "a", "outcome": "GREAT"}\n', "has the outcome 'GREAT'"),
    ],
)  # fmt: skip
def test_what_no_run_wrote_is_refused_whole(store: HistoryStore, tmp_path: Path, text: str, named: str) -> None:
    good = '{"record": "result", "scenario": "a", "outcome": "PASS"}\n'
    (tmp_path / "results.jsonl").write_text(good + text)

    with pytest.raises(UsageError, match=named):
        store.add_run(tmp_path)
    assert store.runs() == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(
    st.sampled_from(["record", "scenario", "attempt", "outcome", "seconds", "started", "message", "guest", "machine"]),
    st.sampled_from(["result", "start", "session", "PASS", "FAIL", {}, [], None, 3, 1.5, True, "x\0y", "\ud800"]),
)))  # fmt: skip
def test_no_results_break_it(tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, object]]) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with HistoryStore(folder / "h.sqlite") as store:
        try:
            store.add_run(folder)
        except UsageError:
            return
        gather(store.pasts())


def test_the_file_lies_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WFP_HIL_HISTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_path() == tmp_path / "wfp-hil" / "history.sqlite"
    monkeypatch.setenv("WFP_HIL_HISTORY", "off")
    assert history_path() is None
    assert history_path(str(tmp_path / "mine")) == tmp_path / "mine"
    assert history_path("off") is None


def test_the_command_imports_and_shows(tmp_path: Path, write_run: WriteRun) -> None:
    file = ["--history", str(tmp_path / "h.sqlite")]
    good, bad = write_run("PASS", driver="a"), write_run("FAIL", driver="b", seed="4711 of the wire")
    runs = [good, bad, write_run("PASS", scenario="a.py::test_b")]

    taken = RUNNER.invoke(app, ["history", *file, "import", *map(str, runs)])
    everything = RUNNER.invoke(app, ["history", *file], env={"COLUMNS": "200"})
    one = RUNNER.invoke(app, ["history", "test_it", *file], env={"COLUMNS": "200"})
    data = RUNNER.invoke(app, ["history", "--failing", "--json", *file])

    assert taken.output.count("1 attempts") == 3
    assert ".F" in everything.output
    assert "1.0.0.98 (bbbbbbbbbbbb)" in everything.output
    assert "a.py::test_b" in everything.output
    assert "last good build: 1.0.0.97 (aaaaaaaaaaaa)" in one.output
    assert "last message: FAIL happened" in one.output
    assert "4711 of the wire" in one.output
    [record] = json.loads(data.output)
    assert record["first_bad"]["driver_sha256"] == "b" * 64
    assert record["last"]["seed"] == "4711 of the wire"


def test_what_a_guest_said_does_not_reach_the_terminal_raw(tmp_path: Path, write_run: WriteRun) -> None:
    file = ["--history", str(tmp_path / "h.sqlite")]
    folder = write_run("FAIL", message="boom \x1b]0;owned\x07 \x1b[2J [bold]not markup[/bold] \u202e")
    RUNNER.invoke(app, ["history", *file, "import", str(folder)])

    shown = RUNNER.invoke(app, ["history", "test_it", *file], env={"COLUMNS": "200"})

    assert not any(letter in shown.output for letter in "\x1b\x07\u202e")
    assert "[bold]not markup[/bold]" in shown.output


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    for arguments, message in (
        (["history", "--history", str(tmp_path / "none")], "There is no history at"),
        (["history", "--history", "off"], "The history is off."),
        (["history", "import", "--history", str(tmp_path / "none")], "There is nothing to import."),
        (["history", "import", "/nowhere", "--history", str(tmp_path / "none")], "cannot be read"),
    ):
        failed = RUNNER.invoke(app, arguments)
        assert isinstance(failed.exception, UsageError)
        assert message in failed.exception.message
