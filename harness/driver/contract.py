"""What the reference guest reports of a driver that broke its contract: lines of JSON on the serial port.

    wfp-hil: contract: {"rule":"W119","call":"FwpsRedirectHandleCreate0","count":1,"text":"...","stack":["x.sys+0x1a"]}

The guest is not trusted: what does not look like this is counted, and nothing of it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.driver.guest_record import Frame, read_record, read_stack

KERNEL_RULES = {
    "K-IRQL": "A function returns at the IRQL it was called at, and waits below DISPATCH_LEVEL only.",
    "K-POOL": "Pool memory is freed once, with its tag, before the driver is unloaded.",
    "K-REGION": "Every critical region that a function enters it leaves.",
}
"""Rules that are none of WFP's, by their ids: what every driver owes the kernel."""

_PREFIX = "wfp-hil: contract: "
_RULE = re.compile(r"W\d{3}|" + "|".join(KERNEL_RULES))
_CALL = re.compile(r"\w{1,64}")
_LOG_MAX, _LINE_MAX, _TEXT_MAX, _FRAMES_MAX, _KINDS_MAX, _COUNT_MAX = 8 << 20, 2048, 400, 16, 200, 10**10


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that the driver broke: in which call, how often from this place, and where (innermost frame first)."""

    rule: str
    call: str
    text: str
    count: int
    stack: tuple[Frame, ...]

    def __str__(self) -> str:
        times = "" if self.count == 1 else f" ({self.count} times)"
        return f"{self.rule} {self.call}: {self.text}{times}"


def read_breaches(log: Path, start: int = 0) -> tuple[tuple[Breach, ...], int]:
    """The breaches behind byte `start` of a serial log, and how many lines were no readable report."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            text = file.read(_LOG_MAX).decode(errors="replace")
    except OSError:
        return (), 0
    return parse_breaches(text.splitlines())


def parse_breaches(lines: Iterable[str]) -> tuple[tuple[Breach, ...], int]:
    """Each breach once for each place, with its highest count, in the order of their first appearance."""
    found: dict[tuple[str, str, tuple[Frame, ...]], Breach] = {}
    unreadable = 0
    for line in lines:
        at = line.find(_PREFIX)
        if at < 0:
            continue
        breach = _parse(line[at + len(_PREFIX) :])
        if breach is None:
            unreadable += 1
            continue
        place = (breach.rule, breach.call, breach.stack[:1])
        first = found.get(place)
        if first is not None:
            found[place] = replace(first, count=max(first.count, breach.count))
        elif len(found) < _KINDS_MAX:
            found[place] = breach
    return tuple(found.values()), unreadable


def _parse(text: str) -> Breach | None:
    match read_record(text, longest=_LINE_MAX):
        case {"rule": str(rule), "call": str(call), "count": int(count), "text": str(words), "stack": list(frames)}:
            pass
        case _:
            return None
    stack = read_stack(frames, most=_FRAMES_MAX)
    if (
        not _RULE.fullmatch(rule)
        or not _CALL.fullmatch(call)
        or isinstance(count, bool)
        or not 1 <= count <= _COUNT_MAX
        or not words.isprintable()
        or len(words) > _TEXT_MAX
        or stack is None
    ):
        return None
    return Breach(rule, call, words, count, stack)
