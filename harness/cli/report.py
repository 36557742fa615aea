"""`wfp-hil report`: the results of a run as one page for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run: out/<run>.")],
    against: Annotated[Path | None, typer.Option(help="The folder of an earlier run: what changed since.")] = None,
    to: Annotated[
        Path | None, typer.Option(help="The file to write; report.html in the run's folder if not given.")
    ] = None,
) -> None:
    """Write one HTML file with everything in it: what changed, all scenarios at a glance, each with its timeline."""
    from harness.report.page import write_page

    print(f"report: {write_page(run, to, against=against)}")
