"""What the reference guest complains of on its serial port: functions that it does not model."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

_MOST = 64 << 20  # bytes of what a guest says in one scenario that are looked at
_LINE = re.compile(r"wfp-hil: model: (UNIMPLEMENTED: .*\S)")


def complaints(log: Path, start: int) -> tuple[str, ...]:
    """Each complaint once, in the order of its first appearance behind byte `start` of the serial log."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            text = file.read(_MOST).decode(errors="replace")
    except OSError:
        return ()
    counts = Counter(found.group(1) for found in map(_LINE.search, text.splitlines()) if found)
    return tuple(line if count == 1 else f"{line} ({count} times)" for line, count in counts.items())


def with_complaints(message: str, said: tuple[str, ...]) -> str:
    """The message of a failure, and under it what the guest complained of meanwhile."""
    if not said:
        return message
    return "\n".join([message, "Meanwhile the guest complained:", *(f"  {line}" for line in said)])
