"""What a guest transport has to offer, and the values it gives back; no protocol of its own."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.errors import UsageError

Stream = Literal["stdout", "stderr"]
OutputCallback = Callable[[Stream, str], None]
ProgressCallback = Callable[[int, int], None]

_CODEC_OF_CODEPAGE = {1200: "utf-16-le", 1201: "utf-16-be", 20127: "ascii", 28591: "latin-1", 65001: "utf-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """A command that ended in the guest: what it was, its exit code, what it printed, how long it took in seconds."""

    command: str
    exit_code: int
    stdout: str
    stderr: str
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a WS-Management server says it is."""

    vendor: str
    version: str
    protocol: str


def find_codec(codepage: int) -> str:
    """Name of the Python codec of a Windows code page.

    Raises UsageError for a code page that Python does not know.
    """
    name = _CODEC_OF_CODEPAGE.get(codepage, f"cp{codepage}")
    try:
        return codecs.lookup(name).name
    except LookupError as unknown:
        raise UsageError(
            f"Code page {codepage} is not known.", hint="65001 is UTF-8, 437 the console of an English Windows."
        ) from unknown
