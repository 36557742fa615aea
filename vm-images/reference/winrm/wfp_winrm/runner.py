"""Starting and ending the programs of commands: under Wine in the guest, plain ones in tests."""

from __future__ import annotations

import contextlib
import ntpath
import os
import posixpath
import signal
import subprocess
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_CMD = r"C:\windows\system32\cmd.exe"
_CONSOLE = r"C:\windows\system32\winrshost.exe"
MARK = "WFP_HIL_COMMAND"
STATUS_CONTROL_C_EXIT = 0xC000013A


class Process:
    """A running program with pipes; ends with all that it started.

    Wine's processes are no children of each other, so those of a command are told by a mark in their environment.
    """

    def __init__(self, argv: list[str], directory: str | None, environment: dict[str, str]) -> None:
        self._mark = f"{MARK}={uuid.uuid4()}"
        name, value = self._mark.split("=", 1)
        self._popen = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env={**environment, name: value},
            bufsize=0,
            start_new_session=True,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._stdin = os.dup(self._popen.stdin.fileno())
        self.stdout = os.dup(self._popen.stdout.fileno())
        self.stderr = os.dup(self._popen.stderr.fileno())
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            stream.close()
        self._lock = threading.Lock()  # guards _stdin
        self._interrupted = False

    def write(self, data: bytes) -> None:
        """Write all to standard input; BrokenPipeError when the program no longer reads."""
        with self._lock:
            if self._stdin < 0:
                raise BrokenPipeError("standard input is closed")
            view = memoryview(data)
            while view:
                view = view[os.write(self._stdin, view) :]

    def close_input(self) -> None:
        """Let the program see the end of its input."""
        with self._lock:
            if self._stdin >= 0:
                os.close(self._stdin)
                self._stdin = -1

    def wait(self) -> int:
        """The exit code as Windows shows it."""
        code = self._popen.wait()
        if code < 0:
            return STATUS_CONTROL_C_EXIT if self._interrupted else 1
        return code

    def interrupt(self) -> None:
        """What Ctrl-C does to a console program that does not catch it: all of the command end."""
        self._interrupted = True
        self.kill()

    def kill(self) -> None:
        """End the program and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        for pid in _marked(self._mark.encode()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if self._lock.acquire(blocking=False):
            try:
                if self._stdin >= 0:
                    os.close(self._stdin)
                    self._stdin = -1
            finally:
                self._lock.release()


def _marked(mark: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


@dataclass(frozen=True)
class Launch:
    """What is to be started, in a shell of what kind."""

    program: str
    arguments: list[str]
    skip_cmd: bool
    directory: str
    environment: dict[str, str]
    codepage: int

    @property
    def line(self) -> str:
        """The command line as the client wrote it."""
        return " ".join([self.program, *self.arguments])


class Runner(Protocol):
    """How a command line becomes a process."""

    def start(self, launch: Launch) -> Process:
        """Start it; OSError when it cannot be."""


class NativeRunner:
    """Runs programs of this host through its own shell: for tests of the endpoint, without Wine."""

    def start(self, launch: Launch) -> Process:
        """Start it with /bin/sh in the place of cmd.exe."""
        argv = split_arguments(launch.line) if launch.skip_cmd else ["/bin/sh", "-c", launch.line]
        environment = {**os.environ, **launch.environment, "WINRS_CODEPAGE": str(launch.codepage)}
        return Process(argv, launch.directory or None, environment)


class WineRunner:
    """Runs Windows programs: `cmd.exe /c ...` in a console, or with WINRS_SKIP_CMD_SHELL the program itself.

    The console, which `winrshost.exe` makes, is what gives the shell's code page a meaning; it takes the line as it is,
    where Wine would quote each word of it anew. A program without cmd.exe is started without one: it saves two
    processes, and a program that wants no cmd.exe knows in which encoding it writes.
    """

    def __init__(self, wine: str, prefix: Path) -> None:
        self._wine = wine
        self._drive = prefix / "drive_c"

    def start(self, launch: Launch) -> Process:
        """Start it; FileNotFoundError when the program or the directory does not exist."""
        folder = self.unix_path(launch.directory) if launch.directory else self._drive / "users" / "root"
        if not folder.is_dir():
            if launch.directory:
                raise NotADirectoryError(launch.directory)
            folder = self._drive
        own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        if launch.skip_cmd:
            argv = split_arguments(launch.line)
            if ntpath.isabs(argv[0]):
                path = self.unix_path(argv[0])
                if not path.exists() and not path.with_name(path.name + ".exe").exists():
                    raise FileNotFoundError(argv[0])
            return Process([self._wine, *argv], str(folder), {**own, **launch.environment})
        own["WINRS_CODEPAGE"] = str(launch.codepage)
        own["WINRS_LINE"] = f"{_CMD} /c {launch.line}"
        own.update({f"WINRS_ENV_{name}": value for name, value in launch.environment.items()})
        return Process([self._wine, _CONSOLE], str(folder), own)

    def unix_path(self, path: str) -> Path:
        """Where a path of drive C: lies; letter case is taken as it is found on disk."""
        drive, rest = ntpath.splitdrive(path)
        if drive.upper() not in ("", "C:"):
            raise FileNotFoundError(path)
        current = self._drive
        for part in posixpath.normpath(rest.replace("\\", "/")).strip("/").split("/"):
            if part in ("", "."):
                continue
            exact = current / part
            if not exact.exists() and current.is_dir():
                exact = next((e for e in current.iterdir() if e.name.lower() == part.lower()), exact)
            current = exact
        return current


def split_arguments(line: str) -> list[str]:
    """Split as CommandLineToArgvW does, backslashes before quotes included."""
    words: list[str] = []
    position, size = 0, len(line)
    while True:
        while position < size and line[position] in " \t":
            position += 1
        if position >= size:
            return words or [""]
        word, quoted = "", False
        while position < size and (quoted or line[position] not in " \t"):
            slashes = 0
            while position < size and line[position] == "\\":
                slashes += 1
                position += 1
            if position < size and line[position] == '"':
                word += "\\" * (slashes // 2)
                if slashes % 2:
                    word += '"'
                elif quoted and line[position + 1 : position + 2] == '"':
                    word += '"'
                    position += 1
                else:
                    quoted = not quoted
                position += 1
                continue
            word += "\\" * slashes
            if position < size and (quoted or line[position] not in " \t"):
                word += line[position]
                position += 1
        words.append(word)
