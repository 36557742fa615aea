"""`wfp-hil report`: the results of a run as one page for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run: out/<run>.")],
    against: Annotated[Path | None, typer.Option(help="The folder of an earlier run: what changed since.")] = None,
    history: Annotated[
        str | None, typer.Option(metavar="FILE", help="SQLite file of all runs, or 'off'; under the state folder else.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="The file to write; report.html in the run's folder if not given.")
    ] = None,
) -> None:
    """Write one HTML file with everything in it: what changed, all scenarios at a glance, each with its timeline."""
    from harness.history import HistoryStore, history_path, memory_of
    from harness.report.page import write_page

    file, memory = history_path(history), None
    if file is not None and file.exists():
        with HistoryStore(file) as store:
            memory = memory_of(store.pasts())
    print(f"report: {write_page(run, to, against=against, memory=memory)}")
