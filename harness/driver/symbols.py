"""Function and line of a place in a driver, from the debug information that mingw-w64 makes (DWARF).

It is in the driver itself, or in `<name>.debug` beside it or one folder up, where our own build leaves it. For a driver
of the kit there is a PDB instead, which nothing here reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pefile

from harness.driver.guest_record import Frame
from harness.errors import DeadlineExpired, HostError
from harness.process import run
from harness.waiting import Deadline

_PROGRAM = "x86_64-w64-mingw32-addr2line"
_SECONDS = 60.0
_LINE_MAX = 200


class Symbols:
    """The debug information of one driver; without any, places stay what they are."""

    def __init__(self, driver: Path) -> None:
        self._driver = driver
        self._source: Path | None = None
        self._base = 0
        self._known: dict[int, str] = {}
        for candidate in (
            driver.with_suffix(".debug"),
            driver.parent.parent / f"{driver.stem}.debug",
            driver,
        ):
            if self._source is None and candidate.is_file() and self._describes(candidate):
                self._source = candidate

    @property
    def source(self) -> Path | None:
        """The file that has the debug information; None without any."""
        return self._source

    def name(self, offset: int) -> str:
        """'redirect at redirect.c:54' for an offset from the image base that is behind a call; '' when not known."""
        if offset not in self._known:
            self._known[offset] = self._ask(offset - 1)
        return self._known[offset]

    def _ask(self, offset: int) -> str:
        if self._source is None or offset < 0:
            return ""
        command: list[str | Path] = [_PROGRAM, "-f", "-s", "-e", self._source, f"0x{self._base + offset:x}"]
        try:
            done = run(command, deadline=Deadline(_SECONDS), check=False)
        except (HostError, DeadlineExpired):
            return ""
        lines = [line[:_LINE_MAX] for line in done.stdout.splitlines()]
        return _words(lines[0], lines[1]) if not done.exit_code and len(lines) == 2 else ""

    def _describes(self, candidate: Path) -> bool:
        """Whether a file has debug information, and of this driver."""
        try:
            debug, own = _image(candidate), _image(self._driver)
        except (OSError, pefile.PEFormatError):
            return False
        self._base = debug.base
        return debug.has_dwarf and (debug.base, debug.entry, debug.code) == (own.base, own.entry, own.code)


class ModuleNames:
    """Names for frames of several modules; where each one's file lies is found by its name."""

    def __init__(self, find: Callable[[str], Path | None]) -> None:
        self._find = find
        self._known: dict[str, Symbols | None] = {}

    def __call__(self, frame: Frame, behind: int) -> str:
        """Function and line of a frame, whose instruction ends at the offset `behind`; '' when not known."""
        module = frame.module.lower()
        if module not in self._known:
            path = self._find(module)
            self._known[module] = Symbols(path) if path is not None else None
        symbols = self._known[module]
        return symbols.name(behind) if symbols is not None else ""


@dataclass(frozen=True, slots=True)
class _Image:
    base: int
    entry: int
    code: int  # bytes
    has_dwarf: bool


def _image(path: Path) -> _Image:
    with pefile.PE(str(path), fast_load=True) as pe:  # type: ignore[no-untyped-call]
        header = pe.OPTIONAL_HEADER
        dwarf = any(section.Name.startswith((b".debug", b"/")) for section in pe.sections)
        return _Image(int(header.ImageBase), int(header.AddressOfEntryPoint), int(header.SizeOfCode), dwarf)


def _words(function: str, place: str) -> str:
    if function.startswith("?") or not re.fullmatch(r"[\w.$@]+", function):
        return ""
    return function if place.startswith("?") else f"{function} at {place.partition(' ')[0]}"
