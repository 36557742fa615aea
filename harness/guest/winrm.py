"""WinRM: one remote shell kept open, many commands at a time, each with its own long-polling reader.

Shell and commands live in the guest, not in a connection: after a dropped connection, or after the guest was
put back to a snapshot, the same ShellId and CommandId go on over new connections.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import AuthenticationFailed, HarnessError, TransportError
from harness.guest.running import RunningCommand
from harness.guest.transport import CommandResult, Identity, OutputCallback, find_codec
from harness.guest.winrm_channel import (
    OPERATION_TIMEOUT,
    Channel,
    ChannelPool,
    ConnectionBroken,
    FaultReceived,
)
from harness.guest.winrm_login import Memory
from harness.steps import note
from harness.waiting import Deadline, NotYet, wait_for

__all__ = ["RunningCommand", "WinRmTransport"]

# One attempt to reach a guest that may still be booting: QEMU takes the connection even when nobody listens in
# the guest, so that only silence tells. TLS and NTLM take about 1 s in an emulated guest that is busy booting.
_IDENTIFY_ATTEMPT = 5.0
_IDLE_TIMEOUT = "PT7200S"
# What each word at the end may take: the guest may be gone by then.
_GOODBYE_SECONDS = 2.0


class WinRmTransport:
    """Commands over WinRM on a forwarded port of this host: HTTPS with a pinned certificate, NTLM."""

    def __init__(
        self,
        *,
        port: int,
        user: str,
        password: str,
        ca: Path,
        codepage: int = 65001,
        operation_timeout: int = OPERATION_TIMEOUT,
    ) -> None:
        self._codepage = codepage
        self._codec = find_codec(codepage)
        self._port = port
        if not ca.is_file():
            raise TransportError(f"The pinned certificate '{ca}' does not exist.", hint="Build the image again.")

        memory = Memory(ca)

        def make() -> Channel:
            return Channel(
                port=port, user=user, password=password, ca=ca, operation_timeout=operation_timeout, memory=memory
            )

        self._pool = ChannelPool(make)
        self._lock = threading.RLock()  # guards _shell and _commands
        self._shell: str | None = None
        self._commands: dict[str, RunningCommand] = {}
        self._kept: frozenset[str] = frozenset()
        self._kept_shell: str | None = None
        self._gate = threading.Event()  # clear while the readers are to hold still
        self._gate.set()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1 that is forwarded to the guest."""
        return self._port

    def identify(self, deadline: Deadline) -> Identity:
        """Wait until the guest's WinRM answers, and give back what it says it is.

        Raises AuthenticationFailed at once; DeadlineExpired with the last error when it never answers.
        """

        def attempt() -> Identity:
            with self._pool.lease() as channel:
                try:
                    said = channel.identify(seconds=min(_IDENTIFY_ATTEMPT, deadline.remaining()))
                except FaultReceived as fault:
                    raise NotYet(fault) from fault
                except ConnectionBroken as broken:
                    channel.cut()
                    raise NotYet(broken) from broken
            return Identity(
                vendor=said.get("ProductVendor", ""),
                version=said.get("ProductVersion", ""),
                protocol=said.get("ProtocolVersion", ""),
            )

        return wait_for(attempt, deadline, f"WinRM on 127.0.0.1:{self._port}")

    @property
    def answers(self) -> int:
        """What the guest has answered so far; grows with every answer that brings something."""
        return self._pool.answers

    def cut(self) -> None:
        """Break every connection; shell and commands live on in the guest, and go on over new ones."""
        self._pool.cut()

    def interrupt(self, error: HarnessError) -> None:
        """End every wait of this moment: with `error`, or with a broken connection where an answer is waited for."""
        with self._lock:
            running = list(self._commands.values())
        for command in running:
            command.interrupt(error)
        self._pool.cut()

    def open_shell(self) -> str:
        """The id of the remote shell; it is opened by the first call."""
        with self._lock:
            if self._shell is None:
                with self._pool.lease() as channel:
                    self._shell = channel.ask(
                        lambda protocol: protocol.open_shell(
                            codepage=self._codepage, noprofile=True, idle_timeout=_IDLE_TIMEOUT
                        )
                    )
            return self._shell

    def start(
        self,
        command: str,
        *,
        on_output: OutputCallback | None = None,
        on_lost: Callable[[str], None] | None = None,
        awaits: Callable[[], bool] | None = None,
        skip_cmd_shell: bool = True,
    ) -> RunningCommand:
        """Start a command and come back at once.

        `on_output` is called in the reader's thread with each piece of text; with it, wait() gives back no output.
        `awaits` says whether output is waited for: no Receive is begun while it is not, so that the end of the command
        is seen no earlier either. It is asked again after each piece of input.
        `on_lost` is called once, with the reason, when there will be no more: the command ended or was lost.
        With `skip_cmd_shell` the command is a program and its arguments; without, a line for cmd.exe.
        """
        shell = self.open_shell()
        with self._pool.lease() as channel:
            command_id = channel.ask(
                lambda protocol: protocol.run_command(
                    shell, command, console_mode_stdin=False, skip_cmd_shell=skip_cmd_shell
                )
            )
        running = RunningCommand(
            command=command,
            shell=shell,
            id=command_id,
            codec=self._codec,
            pool=self._pool,
            gate=self._gate,
            on_output=on_output,
            on_end=self._forget,
            on_lost=on_lost,
            awaits=awaits,
        )
        with self._lock:
            self._commands[command_id] = running
        running.begin()
        return running

    def run(
        self, command: str, deadline: Deadline, *, input: bytes = b"", skip_cmd_shell: bool = False
    ) -> CommandResult:
        """Run a command to its end; it is terminated in the guest when the deadline passes.

        Raises GuestError, with what it printed so far, when it did not end in time.
        """
        running = self.start(command, skip_cmd_shell=skip_cmd_shell)
        if input:
            running.send(input, end=True)
        return running.wait(deadline)

    @contextmanager
    def held(self, nudge: Callable[[], object] | None = None) -> Iterator[None]:
        """No Receive is open in the guest while the block runs: the state in which a snapshot is to be taken.

        A Receive that is open in a snapshot would, after the revert, swallow output into a connection that is
        gone. `nudge` has to make every running command print something, so that its Receive comes back at once;
        without it this waits for the operation time-out. What runs now is what reconnect() keeps.
        """
        with self._lock:
            running = dict(self._commands)
            self._kept, self._kept_shell = frozenset(running), self._shell
        self._gate.clear()
        try:
            if running and nudge is not None:
                nudge()
            limit = Deadline(OPERATION_TIMEOUT + 5)
            for command in running.values():
                command.wait_until_held(limit)
            yield
        finally:
            self._gate.set()

    def cut_off(self, why: str) -> None:
        """The guest stands still and will be put back: who waits for it gets TransportError now, and so does who asks.

        What ran at the snapshot goes on with reconnect().
        """
        self._gate.clear()
        self._pool.cut(shut=why)
        with self._lock:
            gone = [command for number, command in self._commands.items() if number not in self._kept]
        for command in gone:
            command.abandon(why)

    def reconnect(self) -> None:
        """Go on after the guest was put back to the snapshot taken in held(): new connections, same shell.

        Commands that were started later do not exist any more; who waits for one gets TransportError.
        """
        self._pool.cut()
        with self._lock:
            self._shell = self._kept_shell
            gone = [command for number, command in self._commands.items() if number not in self._kept]
            kept = [command for number, command in self._commands.items() if number in self._kept]
        for command in gone:
            command.abandon("it was started after the snapshot that the guest was put back to")
        for command in kept:
            command.resynchronise()
        self._gate.set()

    def close(self) -> None:
        """Terminate what runs, delete the shell, let go of every connection; a guest that is gone is no error."""
        with self._lock:
            running, shell = list(self._commands.values()), self._shell
            self._shell = None
        for command in running:
            with suppress(TransportError):
                command.terminate(seconds=_GOODBYE_SECONDS)
            command.abandon("the transport was closed")
        if shell is not None:
            try:
                with self._pool.lease() as channel:
                    channel.ask(
                        lambda protocol: protocol.close_shell(shell, close_session=False), seconds=_GOODBYE_SECONDS
                    )
            except AuthenticationFailed:
                raise
            except TransportError as error:
                note("the remote shell could not be deleted", error=str(error))
        self._pool.cut()
        self._gate.set()

    def abandon(self) -> None:
        """Let go of everything without a word to the guest: for a machine that is gone."""
        with self._lock:
            running = list(self._commands.values())
            self._shell = None
        for command in running:
            command.abandon("the machine is gone")
        self._pool.cut()
        self._gate.set()

    def __enter__(self) -> WinRmTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self, command: RunningCommand) -> None:
        with self._lock:
            self._commands.pop(command.id, None)
