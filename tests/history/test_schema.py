"""Histories of earlier versions: they open, keep what they have, and are never left half changed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HostError
from harness.history import HistoryStore, gather, schema

# The tables as version 1 made them.
VERSION_1 = """
CREATE TABLE run (id TEXT PRIMARY KEY, started TEXT NOT NULL, folder TEXT NOT NULL, exit_code INTEGER);
CREATE TABLE setting (
    id INTEGER PRIMARY KEY,
    guest TEXT NOT NULL,
    image TEXT NOT NULL,
    driver TEXT NOT NULL,
    driver_sha256 TEXT NOT NULL,
    driver_version TEXT NOT NULL,
    harness TEXT NOT NULL,
    nic TEXT NOT NULL,
    accelerator TEXT NOT NULL,
    fresh TEXT NOT NULL,
    UNIQUE (guest, image, driver, driver_sha256, driver_version, harness, nic, accelerator, fresh)
);
CREATE TABLE attempt (
    run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    setting INTEGER NOT NULL REFERENCES setting (id),
    scenario TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    known TEXT NOT NULL,
    message TEXT NOT NULL,
    seed TEXT NOT NULL,
    started TEXT NOT NULL,
    seconds REAL NOT NULL,
    folder TEXT NOT NULL
);
CREATE INDEX attempt_by_scenario ON attempt (scenario, started);
CREATE INDEX attempt_by_run ON attempt (run);
PRAGMA user_version = 1;
"""
ATTEMPTS = 400


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "history.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript("PRAGMA journal_mode = WAL;" + VERSION_1)
        connection.execute("INSERT INTO run VALUES ('r', '2026-11-01', '/out', 1)")
        for number, nic in ((3, "e1000e"), (7, "igb")):  # numbers with gaps, which attempts refer to
            connection.execute(
                "INSERT INTO setting VALUES (?, 'reference', 'i', 'a.sys', 'aa', '1.0', '0.1', ?, 'tcg', 'test')",
                (number, nic),
            )
        connection.executemany(
            "INSERT INTO attempt VALUES ('r', ?, 'a.py::test', 1, ?, '', 'm', '', ?, 1.5, 'f')",
            [((3, 7)[n % 2], ("PASS", "FAIL")[n % 2], f"2026-11-01T{n:06}") for n in range(ATTEMPTS)],
        )
    connection.close()
    return path


def asked(path: Path, question: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def test_a_history_of_version_1_opens_with_all_that_it_has(old: Path, tmp_path: Path) -> None:
    with HistoryStore(old) as store:
        pasts = list(store.pasts())
        records = gather(pasts)

    assert len(pasts) == ATTEMPTS
    assert {(past.circumstances, past.outcome) for past in pasts} == {
        (("e1000e", "", "", ""), "PASS"), (("igb", "", "", ""), "FAIL"),
    }  # fmt: skip
    assert [record.flake_rate for record in records] == [0.0, 0.0]
    assert asked(old, "PRAGMA user_version") == [(2,)]
    assert asked(old, "PRAGMA foreign_key_check") == []
    assert asked(old, "PRAGMA integrity_check") == [("ok",)]

    session = {"record": "session", "guest": "reference", "image": "i", "driver": "a.sys", "driver_sha256": "aa",
               "driver_version": "1.0", "harness": "0.1", "nic": "igb", "accelerator": "tcg",
               "fresh": "test"}  # fmt: skip
    attempt = {"record": "result", "scenario": "a.py::test", "outcome": "PASS", "guest": "reference"}
    for number, more in enumerate(({}, {"verifier": "standard"})):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        lines = [session | more, attempt | {"started": f"2026-11-02T0{number}"}]
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with HistoryStore(old) as store:
            store.add_run(folder)
    # What is the same as before takes the old setting; what differs in the new fact alone has its own.
    assert asked(old, "SELECT id, verifier FROM setting ORDER BY id") == [(3, ""), (7, ""), (8, "standard")]
    with HistoryStore(old) as store:
        store._connection.execute("DELETE FROM run WHERE id = 'r'")
        assert len(list(store.pasts())) == 2  # what belongs to a run goes with it, as before


def test_a_change_that_fails_half_way_leaves_the_old_history_whole(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_FROM_1", (*schema._FROM_1, "SELECT * FROM nowhere"))

    with pytest.raises(HostError, match="no such table: nowhere"):
        HistoryStore(old)

    assert asked(old, "PRAGMA user_version") == [(1,)]
    assert asked(old, "SELECT count(*) FROM attempt JOIN setting ON setting.id = attempt.setting") == [(ATTEMPTS,)]
    assert asked(old, "SELECT name FROM sqlite_master WHERE name LIKE 'setting%'") == [("setting",)]


def test_several_that_open_an_old_history_at_once_change_it_once(old: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.history import HistoryStore\n"
        "sys.stdin.read()\nwith HistoryStore(Path(sys.argv[1])) as store: print(len(list(store.pasts())))"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(old)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for each in openers:
        each.stdin.close()
        each.stdin = None

    said = [each.communicate(timeout=100) for each in openers]

    assert said == [(f"{ATTEMPTS}\n".encode(), b"")] * 4


def test_a_new_history_has_the_same_tables_as_an_old_one_that_was_changed(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    for path in (old, new):
        HistoryStore(path).close()

    for table in ("run", "setting", "attempt"):
        columns = f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{table}')"
        assert asked(old, columns) == asked(new, columns)
    assert asked(new, "PRAGMA foreign_key_list(attempt)") == asked(old, "PRAGMA foreign_key_list(attempt)")
