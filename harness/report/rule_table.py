"""The catalogue on the terminal: tables of rules, the share of each area, and all that is known of one rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.coverage import By, Count, Coverage
from harness.wfp import Kind, Rule

_KINDS = {Kind.DOCUMENTED: "documented", Kind.OBSERVED: "observed, not documented", Kind.CONFLICT: "documents conflict"}
_SHORT = {By.SCENARIO: "scenario", By.ENGINE: "engine", By.TEST: "test"}


def show_rules(console: Console, rules: Sequence[Rule], coverage: Coverage) -> None:
    """A table of these rules, one row each, under the names of their areas."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("rule", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("checked by", no_wrap=True)
    table.add_column("what it says")
    area = None
    for rule in rules:
        if rule.area != area:
            area = rule.area
            table.add_row("", "", "", Text(f"{area.number} {area.name}", style="bold"))
        table.add_row(rule.id, rule.kind.value, _checked_by(rule, coverage), rule.text)
    console.print(table)


def show_shares(console: Console, counts: Sequence[Count], total: Count) -> None:
    """One line an area: how many of its documented rules are checked, of how many."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="Documented rules", title_justify="left")
    table.add_column("area")
    table.add_column("checked", justify="right")
    table.add_column("", justify="right")
    table.add_column("")
    for count in [*counts, total]:
        beyond = f"{count.not_observable} not observable" if count.not_observable else ""
        style = "bold" if count is total else ""
        name = f"{count.area.number:2} {count.area.name}" if count.area.number else count.area.name
        table.add_row(name, f"{count.covered}/{count.total}", f"{count.share:.0%}", beyond, style=style)
    console.print(table)


def show_rule(console: Console, rule: Rule, coverage: Coverage) -> None:
    """Everything about one rule."""
    console.print(Text(f"{rule.id}  {rule.area.name}, {_KINDS[rule.kind]}", style="bold"))
    console.print(Text(rule.text))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("layers", ", ".join(rule.layer_names) or "the engine as a whole")
    table.add_row("check", f"{rule.check.value}: {rule.reason}" if rule.reason else rule.check.value)
    for number, source in enumerate(rule.sources):
        table.add_row("" if number else "source", source)
    for number, found in enumerate(coverage.of(rule)):
        words = found.name if found.by is not By.ENGINE else f"{found.place} {found.name}"
        table.add_row("" if number else "checked by", Text(f"{found.by.value}: {words}"))
    if not coverage.of(rule):
        table.add_row("checked by", "nothing")
    console.print(table)


def _checked_by(rule: Rule, coverage: Coverage) -> Text:
    found = Counter(mention.by for mention in coverage.of(rule))
    if found:
        return Text(", ".join(f"{found[by]} {_SHORT[by]}" for by in By if found[by]))
    return Text("nothing", style="yellow") if rule.observable else Text("not observable", style="dim")
