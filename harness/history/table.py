"""The history as tables in the terminal. What a guest said stands in it as plain text, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.history.record import FirstBad, Record, recent
from harness.printable import printable
from harness.report import Outcome
from harness.report.circumstances import NAMES, in_words

_STYLES = {Outcome.PASS: "green", Outcome.LOST: "magenta", Outcome.SKIP: "yellow"}


def show_records(console: Console, records: Sequence[Record], *, last: int) -> None:
    """One line a scenario: the last outcomes, how often which, the flake rate, the first bad build."""
    table = Table(box=None, pad_edge=False)
    every = {record.circumstances for record in records}
    are_apart = any(in_words(each, every) for each in every)
    for title, justify in (("scenario", "left"), ("guest", "left"), (f"last {last}", "right"), ("runs", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left", overflow="fold")
        if title == "guest" and are_apart:
            table.add_column("with", overflow="fold")
    table.add_column("pass", justify="right")
    table.add_column("flake rate", justify="right")
    table.add_column("first bad build", overflow="fold")
    for record in records:
        bad = record.first_bad
        table.add_row(
            Text(printable(record.scenario)),
            Text(printable(record.guest)),
            *([Text(printable(in_words(record.circumstances, every)))] if are_apart else []),
            Text(recent(record.pasts, last), style=_STYLES.get(record.last.outcome, "red")),
            str(len(record.pasts)),
            str(record.counts[Outcome.PASS]),
            rate_text(record),
            Text(_bad_text(bad) if bad is not None else ""),
        )
    console.print(table)
    console.print(Text(". PASS  F FAIL  C CRASH  H HANG  ? LOST  - SKIP  k known; the latest last", style="dim"))


def show_one(console: Console, record: Record, *, last: int) -> None:
    """All about one scenario: its attempts one by one, what they say together."""
    words = in_words(record.circumstances)
    name = printable(f"{record.scenario} on guest '{record.guest}'" + (f", {words}" if words else ""))
    console.print(Text(name, style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("when", "outcome", "seconds", "driver", "image", "seed", "run"):
        table.add_column(title, justify="right" if title == "seconds" else "left", overflow="fold")
    for past in record.pasts[-last:]:
        known = " (known)" if past.known else ""
        table.add_row(
            Text(past.started[:19]),
            Text(past.outcome + known, style=_STYLES.get(past.outcome, "red")),
            f"{past.seconds:.2f}",
            Text(f"{past.driver} {past.build}"),
            Text(past.image[:12]),
            Text(printable(past.seed)),
            Text(past.run),
        )
    console.print(table)
    console.print(Text(f"flake rate: {rate_text(record) or 'nothing to compare'}"))
    bad = record.first_bad
    if bad is not None:
        console.print(Text(f"first bad build: {_bad_text(bad)}, {bad.first_bad.started[:19]}"), soft_wrap=True)
        if bad.last_good is not None:
            console.print(Text(f"last good build: {bad.last_good.build}, {bad.last_good.started[:19]}"), soft_wrap=True)
    if record.last.message:
        console.print(Text(f"last message: {printable(record.last.message)}"), soft_wrap=True)


def as_record(record: Record) -> dict[str, object]:
    """The same for a program."""
    bad = record.first_bad
    return {
        "scenario": record.scenario, "guest": record.guest, **dict(zip(NAMES, record.circumstances, strict=True)),
        "attempts": len(record.pasts),
        "counts": {str(outcome): count for outcome, count in record.counts.items()},
        "comparable": record.comparable, "flaked": record.flaked, "flake_rate": record.flake_rate,
        "last": {"outcome": str(record.last.outcome), "known": record.last.known, "started": record.last.started,
                 "seed": record.last.seed},
        "first_bad": None if bad is None else {
            "driver_sha256": bad.first_bad.driver_sha256, "driver_version": bad.first_bad.driver_version,
            "started": bad.first_bad.started, "same_build_passed": bad.same_build,
            "last_good": bad.last_good.driver_sha256 if bad.last_good else None,
        },
    }  # fmt: skip


def as_json(records: Sequence[Record]) -> str:
    """All records as a JSON list."""
    return json.dumps([as_record(record) for record in records], indent=1)


def rate_text(record: Record) -> str:
    """The flake rate with what it was counted from: `5 % (1 of 20)`; empty where there is nothing to compare."""
    rate = record.flake_rate
    return "" if rate is None else f"{rate:.0%} ({record.flaked} of {record.comparable})"


def _bad_text(bad: FirstBad) -> str:
    if bad.same_build:
        return f"none: {bad.first_bad.build} has passed, too"
    return bad.first_bad.build + ("" if bad.last_good is not None else " (no earlier one passed)")
