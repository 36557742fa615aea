"""The SQLite file: its place, its schema, and how a run gets into it.

Several runs may write at once: each is one short transaction, and who comes second waits. A run that is imported again
takes the place of what was there of it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.errors import HostError, UsageError
from harness.history.record import Past
from harness.history.schema import SETTING, VERSION, bring_up
from harness.report import Outcome, read_results
from harness.report.circumstances import NAMES
from harness.waiting import Deadline, wait_for

OFF = "off"
_BUSY_SECONDS = 60.0
_LONGEST_MESSAGE = 2000

_COLUMNS = ", ".join(SETTING)
_PLACES = ", ".join("?" * len(SETTING))
_ADD_SETTING = f"INSERT OR IGNORE INTO setting ({_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608 - names of ours
_FIND_SETTING = f"SELECT id FROM setting WHERE ({_COLUMNS}) = ({_PLACES})"  # noqa: S608
_PASTS = """
SELECT scenario, outcome, known, message, seed, attempt.started, seconds, attempt.folder, guest, image,
    driver, driver_sha256, driver_version, run, nic, verifier, firewall, vcpus
FROM attempt JOIN setting ON setting.id = attempt.setting
WHERE (:scenario IS NULL OR instr(scenario, :scenario) > 0)
    AND (:guest IS NULL OR guest = :guest)
    AND (:driver IS NULL OR driver = :driver OR driver_version = :driver OR instr(driver_sha256, :digest) = 1)
ORDER BY attempt.started, attempt.rowid
"""


def history_path(asked: str | None = None) -> Path | None:
    """The file: what was asked for, else $WFP_HIL_HISTORY, else under the user's state folder; None for 'off'."""
    named = asked or os.environ.get("WFP_HIL_HISTORY")
    if named:
        return None if named == OFF else Path(named).absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state).absolute() / "wfp-hil" / "history.sqlite"


class HistoryStore:
    """The open file; made, with its folder, where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; idempotent."""
        self._connection.close()

    def add_run(self, results: Path) -> int:
        """Take in what a results.jsonl says; returns how many attempts that were.

        Raises UsageError when it is not there, is none, or holds no attempt that has begun.
        """
        records = _read(results)
        attempts = [record for record in records if record.get("record") == "result"]
        killed = _killed(records)
        if not attempts and not killed:
            return 0
        first = json.dumps((attempts or killed)[0], sort_keys=True, default=str)
        run = sha256(first.encode()).hexdigest()[:16]
        settings = [record for record in records if record.get("record") == "session"] or [{}]
        ends = [record.get("exit_code") for record in records if record.get("record") == "end"]
        started = min((_text(a, "started") for a in attempts if a.get("started")), default="")
        with self._transaction() as connection:
            connection.execute("DELETE FROM run WHERE id = ?", (run,))
            connection.execute(
                "INSERT INTO run VALUES (?, ?, ?, ?)", (run, started, str(results.parent.absolute()), _code(ends))
            )
            for attempt in (*attempts, *killed):
                setting = self._setting(connection, _setting_of(attempt, settings))
                connection.execute(
                    "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (run, setting, *_row(attempt, started)),
                )
        return len(attempts) + len(killed)

    def pasts(
        self, *, scenario: str | None = None, guest: str | None = None, driver: str | None = None
    ) -> Iterator[Past]:
        """All attempts, oldest first: of scenarios whose name holds `scenario`, on a guest, of a driver.

        `driver` is a file name, a version, or the beginning of the file's SHA-256.
        """
        asked = {"scenario": scenario, "guest": guest, "driver": driver, "digest": driver.lower() if driver else None}
        try:
            for name, outcome, *rest in self._connection.execute(_PASTS, asked):
                facts, circumstances = rest[: -len(NAMES)], tuple(rest[-len(NAMES) :])
                yield Past(name, Outcome(outcome), *[*facts, circumstances])
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def runs(self) -> int:
        """How many runs it knows."""
        return int(self._connection.execute("SELECT count(*) FROM run").fetchone()[0])

    def _prepare(self) -> None:
        self._write_ahead()
        with self._transaction() as connection:
            version = bring_up(connection)
            if version > VERSION:
                raise UsageError(
                    f"The history '{self.path}' has version {version} of its tables; this wfp-hil knows {VERSION}.",
                    hint="A newer wfp-hil has written it. Use that one, or give another file with --history.",
                )
        self._connection.execute("PRAGMA foreign_keys = ON")

    def _write_ahead(self) -> None:
        """Have readers and a writer side by side, which the file itself remembers.

        SQLite waits for nobody in this one statement: of two that make the file at once, one would be refused.
        """
        deadline = Deadline(_BUSY_SECONDS)

        def switch() -> bool | None:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or deadline.expired:
                    raise
                return None
            return True

        wait_for(switch, deadline, "another one to let go of the history")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A block that is done as a whole or not at all; waits for another writer first."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _setting(self, connection: sqlite3.Connection, facts: tuple[str, ...]) -> int:
        connection.execute(_ADD_SETTING, facts)
        return int(connection.execute(_FIND_SETTING, facts).fetchone()[0])

    def _unusable(self, error: Exception) -> HostError:
        return HostError(
            f"The history '{self.path}' cannot be used: {error}.",
            hint="Give another file with --history, or 'off'; a damaged one may be moved away, a new one is made.",
        )


def _read(results: Path) -> list[dict[str, Any]]:
    if results.is_dir():
        results /= "results.jsonl"
    try:
        records = read_results(results)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"'{results}' cannot be read: {error}.", hint="Give the folder of a run, out/<run>."
        ) from error
    if any(not isinstance(record, dict) for record in records):
        raise UsageError(f"'{results}' is not what a run writes: a line is no JSON object.")
    return records


def _killed(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The attempts that began and never ended, as results."""
    ended = {(_text(r, "scenario"), _text(r, "attempt")) for r in records if r.get("record") == "result"}
    return [
        {**record, "outcome": "LOST", "message": "The run was killed while it ran."}
        for record in records
        if record.get("record") == "start" and (_text(record, "scenario"), _text(record, "attempt")) not in ended
    ]


def _setting_of(attempt: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The facts of the session that an attempt belongs to: the one of its machine, else of its guest, else the last."""
    machine, guest = attempt.get("machine"), attempt.get("guest")
    of_machine = [s for s in settings if machine is not None and s.get("machine") == machine]
    of_guest = [s for s in settings if s.get("guest") == guest]
    facts = (of_machine or of_guest or settings)[-1]
    return tuple(_text(facts, name) for name in SETTING)


def _row(attempt: Mapping[str, Any], started: str) -> tuple[object, ...]:
    outcome = _text(attempt, "outcome")
    if outcome not in tuple(Outcome):
        raise UsageError(f"A result has the outcome '{outcome}', which is none of: {', '.join(Outcome)}.")
    seconds = attempt.get("seconds")
    spent = seconds.values() if isinstance(seconds, dict) else ()
    number = attempt.get("attempt")
    return (
        _text(attempt, "scenario"),
        number if isinstance(number, int) else 1,
        outcome,
        _text(attempt, "known"),
        _text(attempt, "message")[:_LONGEST_MESSAGE],
        _text(attempt, "seed"),
        _text(attempt, "started") or started,
        float(sum(part for part in spent if isinstance(part, (int, float)))),
        _text(attempt, "folder"),
    )


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return "" if value is None else str(value).encode("utf-8", "replace").decode()  # a lone surrogate fits no file


def _code(ends: Sequence[object]) -> int | None:
    last = ends[-1] if ends else None
    return last if isinstance(last, int) else None
