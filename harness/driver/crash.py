"""A crash of the guest, typed: code, parameters, place and stack; and the record of it on the serial port.

    wfp-hil: bugcheck: {"code":209,"parameters":["0x10","0x2","0x1","0x21a465e"],"irql":2,"time_100ns":1,"fault":true,
                        "stack":["wfpcallout.sys+0x465e"]}

The guest is not trusted: a line that is not exactly such a record is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.driver.guest_record import Frame, read_record, read_stack
from harness.errors import GuestCrashed
from harness.wfp.bugchecks import bugcheck_name

Namer = Callable[[Frame, int], str]
"""Function and line of a frame, '' where they are not known; the number is the offset behind the instruction."""

_PREFIX = "wfp-hil: bugcheck: "
_NUMBER = re.compile(r"0x[0-9a-f]{1,16}")
_LINE_MAX, _FRAMES_MAX, _TEXT_MAX, _FRAMES_TOLD = 4096, 64, 8 << 20, 8
_U32, _U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_HIGHEST_IRQL = 15
# What is the system's own in either guest: a stack that begins there is the fault of whoever called it.
_SYSTEM = re.compile(r"\?|(?:fwpkclnt|ndis|netio|tcpip|wdf01000)\.sys|.*\.(?:exe|dll)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A bugcheck. `parameters` are unsigned; `stack` is innermost first, empty where nobody told it.

    `is_fault`: the first frame is the instruction that faulted, not the one behind a call. `time` is in seconds of the
    guest's performance counter, as a driver's events are. `source` says who told: the guest on its serial port, its
    panic device, its dump, or its event log.
    """

    code: int
    parameters: tuple[int, int, int, int] = (0, 0, 0, 0)
    stack: tuple[Frame, ...] = ()
    is_fault: bool = False
    irql: int | None = None
    time: float | None = None
    source: str = ""

    @property
    def name(self) -> str:
        """The code's name in Windows; '' for one that is not known."""
        return bugcheck_name(self.code)

    @property
    def place(self) -> Frame | None:
        """The innermost frame that is a driver's, else the innermost: what to look at first."""
        drivers = [frame for frame in self.stack if not _SYSTEM.fullmatch(frame.module)]
        return next(iter(drivers or self.stack), None)

    def behind(self, frame: Frame) -> int:
        """The offset behind the instruction that a frame stands for, as `Symbols.name` takes it."""
        return frame.offset + (1 if self.is_fault and self.stack and frame is self.stack[0] else 0)

    def title(self, name: Namer | None = None) -> str:
        """'bugcheck 0xd1 (0x10, 0x2, 0x1, 0x21) DRIVER_IRQL_NOT_LESS_OR_EQUAL in x.sys+0x46 f at f.c:9'."""
        numbers = ", ".join(f"{value:#x}" for value in self.parameters)
        words = [f"bugcheck {self.code:#x} ({numbers})", self.name or "(a code without a name here)"]
        if self.place is not None:
            words.append(f"in {self.told(self.place, name)}")
        return " ".join(words)

    def told(self, frame: Frame, name: Namer | None = None) -> str:
        """A frame, with its function and line where they are known."""
        return f"{frame} {name(frame, self.behind(frame)) if name else ''}".rstrip()

    def lines(self, name: Namer | None = None, *, most: int = _FRAMES_TOLD) -> list[str]:
        """The stack for people: one line a frame, a frame that repeats told once."""
        lines: list[str] = []
        repeats = 0
        for at, frame in enumerate(self.stack):
            if at and frame == self.stack[at - 1]:
                repeats += 1
                continue
            if repeats:
                lines[-1] += f" ({repeats + 1} times)"
                repeats = 0
            if len(lines) == most:
                lines.append(f"  and {len(self.stack) - at} more")
                return lines
            lines.append(f"  {self.told(frame, name)}")
        if repeats:
            lines[-1] += f" ({repeats + 1} times)"
        return lines

    def completed_by(self, other: Crash) -> Crash:
        """This, with what only the other one knows of the same crash."""
        return replace(
            self,
            stack=self.stack or other.stack,
            is_fault=self.is_fault if self.stack else other.is_fault,
            irql=self.irql if self.irql is not None else other.irql,
            time=self.time if self.time is not None else other.time,
        )

    def as_record(self, name: Namer | None = None) -> dict[str, object]:
        """For crash.json."""
        place = self.place
        return {
            "code": self.code,
            "name": self.name,
            "parameters": [f"{value:#x}" for value in self.parameters],
            "module": place.module if place else None,
            "offset": place.offset if place else None,
            "function": name(place, self.behind(place)) if place and name else "",
            "irql": self.irql,
            "source": self.source,
            "stack": [self.told(frame, name) for frame in self.stack],
        }


class CrashSeen(GuestCrashed):
    """GuestCrashed with all that is known of it."""

    def __init__(self, crash: Crash, *, name: Namer | None = None, hint: str | None = None) -> None:
        told = [f"The guest crashed: {crash.title(name)}.", *crash.lines(name)]
        super().__init__("\n".join(told), code=crash.code, parameters=crash.parameters, hint=hint)
        self.crash = crash


def find_record(text: str) -> Crash | None:
    """The first record of a bugcheck in what a serial port said; None without one."""
    text = text[:_TEXT_MAX]
    at = text.find(_PREFIX)
    while at >= 0:
        crash = parse_record(text[at + len(_PREFIX) :].split("\n", 1)[0].strip())
        if crash is not None:
            return crash
        at = text.find(_PREFIX, at + 1)
    return None


def parse_record(text: str) -> Crash | None:
    """One record, without what stands before it; None for anything else."""
    match read_record(text, longest=_LINE_MAX):
        case {
            "code": int(code),
            "parameters": [str(a), str(b), str(c), str(d)],
            "irql": int(irql),
            "time_100ns": int(ticks),
            "fault": bool(fault),
            "stack": list(frames),
        }:
            pass
        case _:
            return None
    stack = read_stack(frames, most=_FRAMES_MAX)
    numbers = (code, irql, ticks)
    if (
        any(isinstance(number, bool) for number in numbers)
        or not 0 <= code <= _U32
        or not 0 <= irql <= _HIGHEST_IRQL
        or not 0 <= ticks <= _U64
        or not all(_NUMBER.fullmatch(word) for word in (a, b, c, d))
        or stack is None
    ):
        return None
    return Crash(
        code=code,
        parameters=(int(a, 16), int(b, 16), int(c, 16), int(d, 16)),
        stack=stack,
        is_fault=fault,
        irql=irql,
        time=ticks / 1e7,
        source="serial port",
    )
