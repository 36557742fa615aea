"""The requirements on the terminal: which concern the driver, how each is checked, where it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.cert.evidence import Evidence
from harness.cert.readiness import Finding
from harness.cert.requirements import Settled
from harness.cert.standing import Standing, State
from harness.cert.steps import Step
from harness.printable import printable

STYLES = {
    State.NOT_ASKED: "dim",
    State.FAILING: "red",
    State.OPEN: "yellow",
    State.LOOK: "yellow",
    State.CLEAN: "",
    State.REHEARSED: "cyan",
    State.SEEN: "green",
    State.SETTLED: "green",
}

_WIDE = 130  # from here on there is room for all columns
_NARROW = 78  # from here on for whole names


def show_standings(console: Console, standings: Sequence[Standing], evidence: Evidence) -> None:
    """One row a requirement, under its group; then how many are in which state."""
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0))
    # What is cut short in the middle of a name is hard to read; the results have spaces to break at.
    table.add_column("requirement", overflow="fold", no_wrap=console.width >= _NARROW)
    if wide:
        table.add_column("tried here by", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("by the last results", overflow="fold")
    for group, found in groupby(standings, key=lambda each: each.requirement.group):
        table.add_row(Text(group, style="bold"))
        for each in found:
            name = each.requirement.short.removeprefix(f"{group}.")
            table.add_row(
                Text(f" {name}", style="dim" if each.state is State.NOT_ASKED else ""),
                *((tried_by(each),) if wide else ()),
                Text(str(each.state), style=STYLES[each.state]),
                Text(told(each)),
            )
    console.print(table)
    counts = Counter(each.state for each in standings)
    console.print()
    console.print(", ".join(f"{counts[state]} {state}" for state in State if counts[state]) + ".")
    if evidence.other_builds:
        console.print(f"Results of other builds of the driver, which do not count: {evidence.other_builds}.")
    if evidence.gone:
        console.print(f"Results of scenarios that are no longer there, which do not count: {evidence.gone}.")
    console.print("Every requirement that concerns the driver is the HLK's to decide, on Windows.")
    console.print("What passed in the reference guest was a rehearsal: it is no pass on Windows.")


def show_one(console: Console, standing: Standing) -> None:
    """All about one requirement."""
    each = standing.requirement
    console.print(Text(each.id, style="bold"))
    console.print(Text(each.meaning))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("state", Text(str(standing.state), style=STYLES[standing.state]))
    table.add_row("concerns it", concern(standing))
    table.add_row("checked by", checked_by(standing))
    for words, text in (("not shown", each.limits), ("by hand", each.hand), ("also spelt", each.older),
                        ("attested by", each.attestation and f"{each.attestation} in WFPLogo.Info"),
                        ("settled", printable(standing.done))):  # fmt: skip
        if text:
            table.add_row(words, text)
    for seen in standing.seen:
        table.add_row("seen", Text(f"{seen.outcome} on {seen.guest} ({seen.where}): {seen.scenario}"))
    for planned in standing.not_run:
        table.add_row("not run", Text(planned.scenario))
    for finding in standing.findings:
        table.add_row("package", Text(f"{finding.text} {finding.instead}"))
    for source in each.sources:
        table.add_row("source", source)
    console.print(table)


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """What the package has against it, with the requirement that each endangers."""
    if not findings:
        console.print("The package has nothing that speaks against it.")
    for finding in findings:
        words = Text("breaks  " if finding.breaks else "look    ", style="red" if finding.breaks else "yellow")
        console.print(words + Text(finding.text, style=""), soft_wrap=True)
        for line in (f"endangers {finding.requirement}", finding.instead, finding.source):
            console.print(Text(f"        {line}", style="dim"), soft_wrap=True)
    if findings:
        breaking = sum(finding.breaks for finding in findings)
        console.print(f"{breaking} break a requirement, {len(findings) - breaking} are to be looked at.")


def show_steps(console: Console, steps: Sequence[Step]) -> None:
    """What is left to do, numbered."""
    for number, step in enumerate(steps, start=1):
        console.print(Text(f"{number}. {step.title}", style="bold"))
        for words in step.words:
            console.print(Padding(Text(f"- {words}"), (0, 0, 0, 3)))


def concern(standing: Standing) -> str:
    """Whether the requirement concerns the driver, and why or why not."""
    if not standing.requirement.when:
        return "yes"
    words = " and ".join(standing.requirement.when)
    return f"no: not {words}" if standing.state is State.NOT_ASKED else f"yes: {words}"


def told(standing: Standing) -> str:
    """What the state is from: who settled it, why it is not asked, or what the scenarios came to."""
    if standing.state is State.NOT_ASKED:
        return concern(standing).removeprefix("no: ")
    return printable(standing.done) if standing.state is State.SETTLED else standing.summary


def checked_by(standing: Standing) -> str:
    """All ways in which it is found out."""
    known = {Settled.SCENARIOS: _scenarios(standing), Settled.STATIC: "package", Settled.HLK: "HLK"}
    return "; ".join(known.get(way, str(way)) for way in standing.requirement.settled)


def tried_by(standing: Standing) -> str:
    """What of them is done here; the kit has its say on all of them."""
    known = {Settled.SCENARIOS: _scenarios(standing), Settled.STATIC: "package"}
    return "; ".join(known[way] for way in standing.requirement.settled if way in known) or "nothing"


def _scenarios(standing: Standing) -> str:
    count, skipped = len(standing.scenarios), len(standing.left_out)
    words = f"{count} scenario{'' if count == 1 else 's'}"
    if standing.requirement.limits:
        words += ", in part"
    if skipped and standing.state is not State.NOT_ASKED:
        words += f" ({'all' if skipped == count else skipped} skipped)"
    return words
