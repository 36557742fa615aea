"""`wfp-hil rules`: the catalogue of WFP behaviour, and what checks each rule."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def rules(
    area: Annotated[str | None, typer.Option(help="Only this area: its number, or the beginning of its name.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only D (documented), O (observed on Windows) or C (documents conflict).")
    ] = None,
    uncovered: Annotated[bool, typer.Option("--uncovered", help="Only rules that nothing checks.")] = False,
    id: Annotated[str | None, typer.Option(help="All about one rule, such as W120.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Documented WFP behaviour, rule by rule, and which scenarios, engine checks and tests check it.

    Below the rules: how many of the documented ones each area has, and how many of them are checked.
    """
    from rich.console import Console

    from harness.config import project_root
    from harness.report.coverage import as_record, choose, gather_coverage
    from harness.report.rule_table import show_rule, show_rules, show_shares
    from harness.wfp import rule

    one = rule(id.upper()) if id is not None else None
    coverage = gather_coverage(project_root())
    chosen = [one] if one is not None else choose(coverage, area=area, kind=kind, uncovered=uncovered)
    console = Console()
    if as_json:
        print(json.dumps([as_record(entry, coverage) for entry in chosen], indent=1))
    elif one is not None:
        show_rule(console, one, coverage)
    else:
        counts = coverage.counts()
        if chosen:
            show_rules(console, chosen, coverage)
            console.print()
        show_shares(console, counts, coverage.total())
