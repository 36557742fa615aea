"""What a guest transport has to offer, and the values it gives back; no protocol of its own."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from harness.errors import UsageError
from harness.waiting import Deadline

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


class Running(Protocol):
    """A command that runs in the guest and is talked to."""

    def send(self, data: bytes | str, *, end: bool = False) -> None:
        """Write to its standard input; `end` closes it."""

    def wait(self, deadline: Deadline) -> CommandResult:
        """Wait for its end."""

    def terminate(self) -> None:
        """End it in the guest."""


class CommandTransport(Protocol):
    """Runs commands in the guest."""

    def run(self, command: str, deadline: Deadline) -> CommandResult:
        """Run a command to its end; it is ended in the guest when the deadline passes."""

    def start(self, command: str, *, on_output: OutputCallback | None = None) -> Running:
        """Start a command and come back at once."""

    def close(self) -> None:
        """End what runs and let go of every connection."""


class FileTransport(Protocol):
    """Moves files to and from the guest."""

    def put(self, local: Path, remote: str, *, progress: ProgressCallback | None = None) -> str:
        """Copy a file into the guest and give back its SHA-256."""

    def get(self, remote: str, local: Path, *, progress: ProgressCallback | None = None) -> str:
        """Copy a file out of the guest and give back its SHA-256."""

    def close(self) -> None:
        """Let go of the connection."""


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
