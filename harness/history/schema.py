"""The tables of the history, and how those of an earlier version become those of this one."""

from __future__ import annotations

import sqlite3

VERSION = 2
SETTING = (
    "guest", "image", "driver", "driver_sha256", "driver_version", "harness", "nic", "accelerator", "fresh",
    "verifier", "firewall", "vcpus",
)  # fmt: skip
"""The facts of a session that its results are kept with: columns of the table `setting`."""

_SETTING_TABLE = f"""
CREATE TABLE setting (
    id INTEGER PRIMARY KEY,
    {", ".join(f"{name} TEXT NOT NULL DEFAULT ''" for name in SETTING)},
    UNIQUE ({", ".join(SETTING)})
)"""
_TABLES = (
    """
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    started TEXT NOT NULL,
    folder TEXT NOT NULL,
    exit_code INTEGER
)""",
    _SETTING_TABLE,
    """
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
)""",
    "CREATE INDEX attempt_by_scenario ON attempt (scenario, started)",
    "CREATE INDEX attempt_by_run ON attempt (run)",
)
_SETTING_1 = ", ".join(("id", *SETTING[:9]))
# A table's UNIQUE cannot be changed, so it is made anew; `attempt` refers to it by name, and so to the new one.
_FROM_1 = (
    "DROP TABLE IF EXISTS setting_2",
    _SETTING_TABLE.replace("TABLE setting", "TABLE setting_2", 1),
    f"INSERT INTO setting_2 ({_SETTING_1}) SELECT {_SETTING_1} FROM setting",  # noqa: S608 - names of ours
    "DROP TABLE setting",
    "ALTER TABLE setting_2 RENAME TO setting",
)


def bring_up(connection: sqlite3.Connection) -> int:
    """Make the tables, or those of an earlier version into these; the version found, which may be a newer one.

    To be called in a transaction, with `foreign_keys` off: else a table that others refer to cannot be dropped.
    """
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    steps = {0: _TABLES, 1: _FROM_1}.get(found, ())
    for statement in steps:
        connection.execute(statement)
    if steps:
        connection.execute(f"PRAGMA user_version = {VERSION}")
    return found
