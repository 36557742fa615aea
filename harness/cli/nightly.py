"""`wfp-hil nightly`: a matrix of runs, side by side within what the host has, and one report of all."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from harness.cli import options
from harness.cli.clean import clear_up
from harness.errors import ConfigError, HostError

if TYPE_CHECKING:
    from rich.console import Console

_INTERRUPTED = 130
_LOG_COLUMNS = 200


def nightly(
    matrix: Annotated[Path, typer.Argument(help="The matrix as TOML: docs/nightly.md.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the nights of this matrix; out/nightly/<name> if not given.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Start over, even where the last night did not end.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would run, and run nothing.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="The night to hold it against; the last one that ended if not given.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Append a summary in Markdown to this file; $GITHUB_STEP_SUMMARY if not given.", metavar="FILE"
        ),
    ] = None,
    history: options.History = None,
    known_issues: options.KnownIssues = None,
    scenarios: Annotated[Path, typer.Option(help="Folder of scenarios, for selections that name none.")] = Path(
        "scenarios"
    ),
) -> None:
    """Run a matrix of guests, NICs, drivers, verifier profiles, firewall settings and selections of scenarios.

    A night that was killed goes on where it was: the same command again. Ends with 0 when all passed, 1 when the driver
    failed, 2 for usage, 3 when the host or the infrastructure failed, 130 when it was interrupted.
    """
    from harness import nightly as night
    from harness.history import HistoryStore, history_path
    from harness.plugin.remembering import find_known_issues

    asked = night.load_matrix(matrix)
    known = find_known_issues(None if known_issues is None else str(known_issues))
    root = out or Path("out") / "nightly" / asked.title
    cells = night.expand(asked, scenarios_root=scenarios)
    budget = night.budget_of(asked, cells, night.free_room(root))
    file = history_path(history)
    pasts = []
    if file is not None and file.exists():
        with HistoryStore(file) as store:
            pasts = list(store.pasts())
    known_times = night.experience(pasts, night.cell_seconds(root))
    expected = {cell.id: known_times.expect(cell) for cell in cells}
    if plan:
        state = night.planned(root, matrix, asked.title, cells, again=again)
        console = _console(sys.stdout)
        night.show_plan(console, cells, state, expected, budget)
        _tell_what_lacks(console, lambda: night.require_host(asked, cells))
        return
    night.require_host(asked, cells)
    console = _console(sys.stderr)
    with night.open_night(root, matrix, asked.title, cells, again=again) as (folder, state):
        night.show_plan(console, cells, state, expected, budget)
        console.print(f"results: {folder}", soft_wrap=True)
        clear_up()
        to_run = [cell for cell in cells if state.cell(cell.id).stage == "waiting"]
        view = night.NightView(console, to_run, expected, budget)
        more = [word for option, value in (("--history", history), ("--known-issues", known_issues))
                if value is not None for word in (option, str(value))]  # fmt: skip
        pool = night.Pool(
            folder, state, cells, expected=expected, budget=budget, minutes=asked.run.minutes, view=view, more=more
        )
        began = time.monotonic()
        interrupted = False
        with view.shown():
            try:
                pool.run()
            except KeyboardInterrupt:
                interrupted = True
        if not interrupted:
            state.ended = night.now()
            night.write_state(folder, state)
        earlier = against or night.before(root, folder, matrix)
        written = night.write_reports(
            folder, state, before=earlier, history=file, known=known, seconds=time.monotonic() - began
        )
        night.show_end(console, state)
        for what, path in written:
            console.print(f"{what}: {path}", soft_wrap=True)
        append_summary(folder / "summary.md", summary)
        if interrupted:
            console.print("Interrupted: the same command goes on with it.", soft_wrap=True)
            sys.exit(_INTERRUPTED)
        sys.exit(night.exit_code(state))


def _tell_what_lacks(console: Console, look: Callable[[], None]) -> None:
    """A plan may be made on another host than its night: what this one lacks is no error."""
    try:
        look()
    except ConfigError as error:
        console.print(f"It could not begin on this host: {error}", style="yellow", soft_wrap=True, markup=False)


def _console(file: TextIO) -> Console:
    """A terminal as wide as it is; a log as wide as a table of cells wants to be."""
    from rich.console import Console

    return Console(file=file, highlight=False, width=None if file.isatty() else _LOG_COLUMNS)


def append_summary(made: Path, asked: Path | None) -> None:
    """Append the summary where it was asked for, or where GitHub's runner says that a step's summary goes."""
    named = os.environ.get("GITHUB_STEP_SUMMARY")
    target = asked or (Path(named) if named else None)
    if target is None:
        return
    try:
        with target.open("a", encoding="utf-8") as file:
            file.write(made.read_text(encoding="utf-8"))
    except OSError as error:
        raise HostError(
            f"The summary cannot be appended to '{target}': {error.strerror}.", hint=f"It is in '{made}' as well."
        ) from error
