"""Crashes by signature: when the same bug was first and last seen, in which scenarios, by which builds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from harness.history.record import Past
from harness.printable import printable

_MOST_NAMES = 3


def show_crashes(console: Console, crashes: Mapping[str, Sequence[Past]]) -> None:
    """A few lines a signature, the one that was seen last on top."""
    if not crashes:
        console.print("The history has no crash.")
    for signature, of in _latest_first(crashes):
        times = "once" if len(of) == 1 else f"{len(of)} times"
        lines = [
            f"  {times}, first seen {of[0].started[:16]}, last seen {of[-1].started[:16]}",
            f"  builds: {_some([past.build for past in of])}",
            f"  scenarios: {_some([past.scenario for past in of])}",
        ]
        console.print(Text(printable(signature), style="bold"), soft_wrap=True)
        console.print(Text("\n".join(lines)), soft_wrap=True)


def as_json(crashes: Mapping[str, Sequence[Past]]) -> str:
    """The same for a program."""
    return json.dumps(
        [
            {
                "signature": signature, "count": len(of), "first_seen": of[0].started, "last_seen": of[-1].started,
                "builds": _each_once([past.build for past in of]), "guests": _each_once([past.guest for past in of]),
                "scenarios": _each_once([past.scenario for past in of]),
            }
            for signature, of in _latest_first(crashes)
        ],
        indent=1,
    )  # fmt: skip


def _latest_first(crashes: Mapping[str, Sequence[Past]]) -> list[tuple[str, Sequence[Past]]]:
    return sorted(crashes.items(), key=lambda each: each[1][-1].started, reverse=True)


def _each_once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _some(names: Sequence[str]) -> str:
    different = _each_once(names)
    more = f" and {len(different) - _MOST_NAMES} more" if len(different) > _MOST_NAMES else ""
    return ", ".join(printable(name) for name in different[:_MOST_NAMES]) + more
