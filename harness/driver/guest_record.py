"""A record that the guest says on its serial port, as JSON on a line of its own: bounded, for nobody vouches for it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_FRAME = re.compile(r"([\w.?-]{1,40})\+0x([0-9a-f]{1,16})")


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in a driver: the file's name, and the offset from its image base."""

    module: str
    offset: int

    def __str__(self) -> str:
        return f"{self.module}+0x{self.offset:x}"


def read_record(line: str, *, longest: int) -> object:
    """The JSON value of a line; None for a line that is longer, or is none."""
    if len(line) > longest:
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def read_stack(frames: Sequence[object], *, most: int) -> tuple[Frame, ...] | None:
    """The frames of a record, `wfpcallout.sys+0x1a2b`, innermost first and no more than `most`; None if one is none."""
    found = [_FRAME.fullmatch(frame) if isinstance(frame, str) else None for frame in frames[:most]]
    stack = tuple(Frame(match[1], int(match[2], 16)) for match in found if match is not None)
    return stack if len(stack) == len(found) else None
