"""The matrix as a coloured grid: cells by modules with what was worst in each, and every scenario in every cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.outcome import Outcome
from harness.report.page.parts import Part

WORST_FIRST = (Outcome.CRASH, Outcome.HANG, Outcome.FAIL, Outcome.LOST, Outcome.SKIP, Outcome.PASS)
_Shown = Mapping[str, Any]


def axes_of(parts: Sequence[Part]) -> list[str]:
    """The axes on which cells differ: one that is the same everywhere tells nothing."""
    names = list(dict.fromkeys(name for part in parts for name in part.axes))
    return [name for name in names if len({part.axes.get(name, "") for part in parts}) > 1]


def heat(parts: Sequence[Part], shown: Sequence[_Shown]) -> dict[str, Any]:
    """A row for each cell, a column for each module: counts, and the worst outcome for the colour."""
    modules = sorted({str(each["module"]) for each in shown})
    found: dict[tuple[str, str], Counter[Outcome]] = {}
    for each in shown:
        found.setdefault((each["part"], each["module"]), Counter())[_weight(each)] += 1
    rows = []
    for part in parts:
        cells = [_block(found.get((part.name, module), Counter())) for module in modules]
        rows.append({"part": part, "cells": cells, "all": _block(_sum(found, part.name))})
    return {"modules": modules, "rows": rows}


def squares(parts: Sequence[Part], shown: Sequence[_Shown]) -> list[tuple[str, list[dict[str, Any]]]]:
    """By module a row for each scenario, with one square for each cell in the order of the matrix."""
    places = {part.name: at for at, part in enumerate(parts)}
    rows: dict[tuple[str, str], list[_Shown | None]] = {}
    for each in shown:
        row = rows.setdefault((each["module"], each["name"]), [None] * len(parts))
        row[places[each["part"]]] = each
    groups: dict[str, list[dict[str, Any]]] = {}
    for (module, name), row in rows.items():
        groups.setdefault(module, []).append({"name": name, "cells": row})
    return sorted(groups.items())


def _weight(each: _Shown) -> Outcome:
    """A failure that is known is no alarm: it takes the colour of what was skipped."""
    outcome: Outcome = each["outcome"]
    return Outcome.SKIP if each["known"] else outcome


def _sum(found: Mapping[tuple[str, str], Counter[Outcome]], name: str) -> Counter[Outcome]:
    return sum((count for (part, _), count in found.items() if part == name), Counter[Outcome]())


def _block(count: Counter[Outcome]) -> dict[str, Any]:
    total = sum(count.values())
    if not total:
        return {"outcome": "", "text": "", "title": "nothing ran"}
    worst = next(outcome for outcome in WORST_FIRST if count[outcome])
    title = ", ".join(f"{count[outcome]} {outcome}" for outcome in WORST_FIRST if count[outcome])
    whole = worst is Outcome.PASS or count[worst] == total
    return {"outcome": str(worst), "text": str(total) if whole else f"{count[worst]}/{total}", "title": title}
