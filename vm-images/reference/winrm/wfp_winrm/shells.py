"""Shells, their commands and the output that waits to be fetched; knows nothing of XML, HTTP or Wine.

A waiter is an eventfd, not a condition variable, so that a thread that waits for output can wait for the end of its
TCP connection at the same time (`http` does): output must never be handed to a connection that is already dead.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

from .runner import Launch, Process, Runner

MAX_COMMANDS = 100
MAX_SHELLS = 100
PIECE = 200  # bytes of output that the frame of one more piece costs in a response


@dataclass(frozen=True)
class ShellOptions:
    """What a client asked for when it created a shell."""

    shell_id: str = ""
    name: str = ""
    owner: str = ""
    client_address: str = ""
    directory: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    codepage: int = 65001
    idle_timeout: float = 7200.0
    input_streams: str = "stdin"
    output_streams: str = "stdout stderr"


class Chunks:
    """What one Receive takes: stream data in order, the streams that ended, and the exit code once all is out."""

    def __init__(self) -> None:
        self.data: list[tuple[str, bytes]] = []
        self.ended: list[str] = []
        self.exit_code: int | None = None

    def __bool__(self) -> bool:
        return bool(self.data or self.ended or self.exit_code is not None)


class Command:
    """A program that runs in a shell."""

    def __init__(self, command_id: str, process: Process, limit: int = 1 << 20) -> None:
        self.id = command_id
        self._process = process
        self._limit = limit
        self._lock = threading.Condition()  # guards all below; notified when output was taken
        self._pending: deque[tuple[str, bytes]] = deque()
        self._size = 0
        self._open = {"stdout", "stderr"}
        self._ended: list[str] = []
        self._exit_code: int | None = None
        self._reported_done = False
        self._waiter: int | None = None
        self._gone = False
        for name, fd in (("stdout", process.stdout), ("stderr", process.stderr)):
            threading.Thread(target=self._pump, args=(name, fd), name=f"{name} {command_id}", daemon=True).start()
        threading.Thread(target=self._reap, name=f"exit {command_id}", daemon=True).start()

    def send(self, data: bytes, *, end: bool) -> None:
        """Write to the command's standard input; blocks while the program does not read."""
        self._process.write(data)
        if end:
            self._process.close_input()

    def signal(self, name: str) -> None:
        """End the command (`terminate`), or interrupt it (`ctrl_c`, `ctrl_break`)."""
        self._process.interrupt() if name.startswith("ctrl_") else self._process.kill()

    def discard(self) -> None:
        """End the command and let nobody wait for it any more."""
        self._process.kill()
        with self._lock:
            self._gone = True
            self._pending.clear()
            self._size = 0
            self._lock.notify_all()
            self._wake()

    def attach(self, waiter: int) -> None:
        """Make `waiter` (an eventfd) the one that is told about output; whoever waited before is told to give up."""
        with self._lock:
            if self._waiter is not None:
                self._wake()
            self._waiter = waiter

    def detach(self, waiter: int) -> None:
        """Stop telling `waiter`."""
        with self._lock:
            if self._waiter == waiter:
                self._waiter = None

    def take(self, waiter: int, max_bytes: int) -> Chunks | None:
        """Output that has come, possibly none yet; None when another waiter has taken over or the command is gone."""
        with self._lock:
            if self._waiter != waiter or self._gone:
                return None
            chunks = Chunks()
            room = max_bytes - PIECE
            while self._pending and room > 0:
                name, data = self._pending.popleft()
                if len(data) > room:
                    self._pending.appendleft((name, data[room:]))
                    data = data[:room]
                room -= len(data)
                self._size -= len(data)
                if chunks.data and chunks.data[-1][0] == name:
                    chunks.data[-1] = (name, chunks.data[-1][1] + data)
                else:
                    chunks.data.append((name, data))
                    room -= PIECE
            if not self._pending and self._exit_code is not None and not self._open:
                chunks.ended, self._ended = self._ended, []
                chunks.exit_code = self._exit_code
            self._lock.notify_all()
            return chunks

    def give_back(self, chunks: Chunks) -> None:
        """Put output back that could not be delivered."""
        with self._lock:
            self._pending.extendleft(reversed(chunks.data))
            self._size += sum(len(data) for _, data in chunks.data)
            self._ended = chunks.ended + self._ended
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            os.eventfd_write(self._waiter, 1)

    def _pump(self, name: str, fd: int) -> None:
        while True:
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""
            with self._lock:
                if not data:
                    self._open.discard(name)
                    self._ended.append(name)
                    self._wake()
                    break
                if not self._gone:
                    self._pending.append((name, data))
                    self._size += len(data)
                    self._wake()
                while self._size > self._limit and not self._gone:
                    self._lock.wait()  # back-pressure: the program blocks on its pipe until a client fetches
        os.close(fd)

    def _reap(self) -> None:
        code = self._process.wait()
        with self._lock:
            self._exit_code = code
            self._wake()


class Shell:
    """A Windows Remote Shell: directory, environment and the commands that run with them."""

    def __init__(self, options: ShellOptions, runner: Runner) -> None:
        self.id = (options.shell_id or str(uuid.uuid4())).upper()
        self.options = options
        self.created = self.used = time.monotonic()
        self._runner = runner
        self._lock = threading.Lock()  # guards commands
        self.commands: dict[str, Command] = {}

    def start(self, program: str, arguments: list[str], command_id: str | None, *, skip_cmd: bool) -> Command:
        """Run a program; OSError when it cannot be started."""
        command_id = (command_id or str(uuid.uuid4())).upper()
        with self._lock:
            if command_id in self.commands:
                raise FileExistsError(command_id)
            if len(self.commands) >= MAX_COMMANDS:
                raise BlockingIOError(f"{MAX_COMMANDS} commands run in this shell already.")
        options = self.options
        launch = Launch(program, arguments, skip_cmd, options.directory, options.environment, options.codepage)
        process = self._runner.start(launch)
        command = Command(command_id, process)
        with self._lock:
            self.commands[command_id] = command
        return command

    def forget(self, command_id: str) -> None:
        """Drop a command that was terminated."""
        with self._lock:
            command = self.commands.pop(command_id, None)
        if command is not None:
            command.discard()

    def close(self) -> None:
        """End all commands."""
        with self._lock:
            commands, self.commands = list(self.commands.values()), {}
        for command in commands:
            command.discard()


class Shells:
    """All shells of the endpoint."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.Lock()  # guards _shells
        self._shells: dict[str, Shell] = {}

    def create(self, options: ShellOptions) -> Shell:
        """Open a shell; BlockingIOError when there are too many, FileExistsError when its id is taken."""
        self._drop_idle()
        with self._lock:
            if len(self._shells) >= MAX_SHELLS:
                raise BlockingIOError(f"{MAX_SHELLS} shells are open already.")
            shell = Shell(options, self._runner)
            if shell.id in self._shells:
                raise FileExistsError(shell.id)
            self._shells[shell.id] = shell
        return shell

    def find(self, shell_id: str) -> Shell | None:
        """The shell with this id, marked as used now."""
        with self._lock:
            shell = self._shells.get(shell_id.upper())
            if shell is not None:
                shell.used = time.monotonic()
            return shell

    def all(self) -> list[Shell]:
        """The shells that are open, oldest first."""
        with self._lock:
            return list(self._shells.values())

    def delete(self, shell_id: str) -> bool:
        """Close a shell; False when there is none."""
        with self._lock:
            shell = self._shells.pop(shell_id.upper(), None)
        if shell is None:
            return False
        shell.close()
        return True

    def close(self) -> None:
        """Close all shells."""
        with self._lock:
            ids = list(self._shells)
        for shell_id in ids:
            self.delete(shell_id)

    def _drop_idle(self) -> None:
        now = time.monotonic()
        with self._lock:
            idle = [s.id for s in self._shells.values() if now - s.used > s.options.idle_timeout and not s.commands]
        for shell_id in idle:
            self.delete(shell_id)
