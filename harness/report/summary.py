"""The summary in Markdown, as CI systems show it beside a job: what changed, a row for each run, what did not pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.report.outcome import Outcome
from harness.report.page import Part, changes, outcomes_of
from harness.report.page.changes import Change
from harness.report.page.grid import WORST_FIRST, axes_of

_MARKS = {
    Outcome.PASS: "✅", Outcome.FAIL: "❌", Outcome.CRASH: "💥", Outcome.HANG: "⏳", Outcome.LOST: "❓",
    Outcome.SKIP: "⏭️",
}  # fmt: skip
_MEANINGS = {0: "all passed", 1: "the driver failed", 2: "usage", 3: "host or infrastructure", 130: "interrupted"}
_MOST_LISTED = 50
_LONGEST = 300
_MARKDOWN = re.compile(r"([\\`*_{}\[\]>()#|!~])")


def render_summary(parts: Sequence[Part], *, title: str, before: Sequence[Part] | None, exit_code: int) -> str:
    """The text; what a guest said stands in it as plain text, whatever it holds."""
    meaning = _MEANINGS.get(exit_code, "")
    lines = [f"## wfp-hil {_plain(title)}: {meaning or exit_code}", "", f"{_counts(parts)}; exit code {exit_code}.", ""]
    lines += _changes(parts, before)
    lines += _table(parts)
    lines += _failures(parts)
    lines.append("A pass on the reference guest is not a pass on Windows.")
    return "\n".join(lines) + "\n"


def _counts(parts: Sequence[Part]) -> str:
    counts = Counter(outcome for outcome, _ in outcomes_of(parts).values())
    return ", ".join(f"{_MARKS[each]} {counts[each]} {each}" for each in WORST_FIRST if counts[each]) or "Nothing ran"


def _changes(parts: Sequence[Part], before: Sequence[Part] | None) -> list[str]:
    if before is None:
        return []
    found = changes(outcomes_of(before), outcomes_of(parts))
    lines = ["### Since the last time", ""]
    for words, listed in (
        ("Newly failing", found.newly_failing), ("Newly passing", found.newly_passing),
        ("Otherwise another outcome", found.otherwise), ("Slower", found.slower),
    ):  # fmt: skip
        if listed:
            lines += [f"**{words}: {len(listed)}**", "", *_listed(listed), ""]
    return lines if len(lines) > 2 else [*lines, "Nothing changed.", ""]


def _listed(found: Sequence[Change]) -> list[str]:
    lines = [f"- {each.was} → {each.now} {_code(each.scenario)} {_plain(each.guest)}" for each in found[:_MOST_LISTED]]
    return [*lines, f"- and {len(found) - _MOST_LISTED} more"] if len(found) > _MOST_LISTED else lines


def _table(parts: Sequence[Part]) -> list[str]:
    if not any(part.name for part in parts):
        return []
    axes = axes_of(parts) or ["cell"]
    lines = ["### The matrix", "", "| " + " | ".join([*axes, "results", "time"]) + " |"]
    lines.append("|" + " --- |" * (len(axes) + 2))
    for part in parts:
        labels = [_plain(part.axes.get(axis, "") or ("as it is" if part.axes else part.name)) for axis in axes]
        if part.refused:
            what = f"⏭️ {_plain(part.reason)}"
        else:
            what = _counts([part]) + (f" {_plain(part.note)}: {_plain(part.reason)}" if part.reason else "")
        lines.append("| " + " | ".join([*labels, what, f"{part.seconds:.0f} s"]) + " |")
    return [*lines, ""]


def _failures(parts: Sequence[Part]) -> list[str]:
    """Each result that did not pass at once, with the first line of why; also those that a second attempt mended."""
    told: list[str] = []
    for part in parts:
        for (scenario, where), tries in part.attempts().items():
            wrong = [each for each in tries if each["outcome"] not in (Outcome.PASS, Outcome.SKIP)]
            if wrong:
                told.append(f"- {_trail(tries)} {_code(scenario)} {_plain(where)}: {_plain(_first_line(wrong[-1]))}")
    if not told:
        return []
    more = [f"- and {len(told) - _MOST_LISTED} more"] if len(told) > _MOST_LISTED else []
    return ["### What did not pass", "", *told[:_MOST_LISTED], *more, ""]


def _trail(tries: Sequence[dict[str, Any]]) -> str:
    trail = ", then ".join(f"{_MARKS[Outcome(each['outcome'])]} {each['outcome']}" for each in tries)
    known = str(tries[-1].get("known", ""))
    return f"{trail} (known: {_plain(known)})" if known else trail


def _first_line(record: dict[str, Any]) -> str:
    return (str(record.get("message", "")).splitlines() or [""])[0]


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else; of one line."""
    words = " ".join(text.split())
    words = words if len(words) <= _LONGEST else words[:_LONGEST] + "..."
    # Nobody is called by a name that a guest said, and no address of its becomes a link.
    words = _MARKDOWN.sub(r"\\\1", words.replace("&", "&amp;").replace("<", "&lt;"))
    return words.replace("@", "&#64;").replace("://", ":&#47;/")


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"
