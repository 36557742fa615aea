"""One command that runs in the guest's remote shell, and the thread that reads what it prints."""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.errors import GuestError, HarnessError, TransportError
from harness.guest.transport import CommandResult, OutputCallback, Stream
from harness.guest.winrm_channel import ChannelPool, ConnectionBroken, FaultReceived, NothingYet
from harness.waiting import Deadline

_BROKEN_TRIES = 4
_SIGNAL_SECONDS = 10.0


class RunningCommand:
    """A command in the guest; a thread long-polls its output until it ends."""

    def __init__(
        self,
        *,
        command: str,
        shell: str,
        id: str,
        codec: str,
        pool: ChannelPool,
        gate: threading.Event,
        on_output: OutputCallback | None,
        on_end: Callable[[RunningCommand], None],
        on_lost: Callable[[str], None] | None = None,
        awaits: Callable[[], bool] | None = None,
    ) -> None:
        self.command = command
        self.id = id
        self._shell = shell
        self._codec = codec
        self._pool = pool
        self._gate = gate
        self._on_output = on_output
        self._on_end = on_end
        self._on_lost = on_lost
        self._awaits = awaits
        self._started = time.monotonic()
        self._send_lock = threading.Lock()  # keeps what is sent in the order of the calls
        self._changed = threading.Condition()  # guards the fields below
        self._text: dict[Stream, list[str]] = {"stdout": [], "stderr": []}
        self._read_from = 0
        self._decoders = self._make_decoders()
        self._exit_code: int | None = None
        self._lost: str | None = None
        self._interrupted: HarnessError | None = None
        self._ended_after = 0.0
        self._is_held = False
        self._sends = 0  # on their way
        self._terminating = False
        self._thread = threading.Thread(target=self._read, name=f"winrm-receive-{id[:8]}", daemon=True)

    def begin(self) -> None:
        """Start to read its output."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it has neither ended nor been lost."""
        return self._exit_code is None and self._lost is None

    def send(self, data: bytes | str, *, end: bool = False) -> None:
        """Write to its standard input; `end` closes it.

        Raises TransportError when the command has ended.
        """
        raw = data.encode(self._codec) if isinstance(data, str) else data
        with self._sending(), self._send_lock, self._pool.lease() as channel:
            channel.ask(lambda protocol: protocol.send_command_input(self._shell, self.id, raw, end=end))

    def lines(self, deadline: Deadline) -> Iterator[str]:
        """The lines of its standard output as they come, without line ends, until it ends.

        Raises DeadlineExpired when the time is up, TransportError when the command was lost.
        """
        rest = ""
        while True:
            piece, more = self._next_text(deadline)
            rest += piece
            *whole, rest = rest.split("\n")
            for line in whole:
                yield line.removesuffix("\r")
            if not more:
                if rest:
                    yield rest
                return

    def wait(self, deadline: Deadline) -> CommandResult:
        """Wait for its end; it is terminated in the guest when the deadline passes.

        Raises GuestError when it did not end in time, TransportError when it was lost.
        """
        if not self._wait_for_end(deadline):
            trouble = ""
            try:
                self.terminate()
            except TransportError as error:
                trouble = f" (and the guest could not be told to end it: {error.message})"
            out, err = self._joined()
            raise GuestError(
                f"'{self.command}' did not end within {deadline.seconds:.1f} s and was terminated{trouble}.",
                command=self.command,
                stdout=out,
                stderr=err,
            )
        out, err = self._joined()
        return CommandResult(
            command=self.command,
            exit_code=self._exit_code if self._exit_code is not None else -1,
            stdout=out,
            stderr=err,
            duration=self._ended_after,
        )

    def terminate(self, *, seconds: float = _SIGNAL_SECONDS) -> None:
        """End it in the guest; one that has already ended is no error."""
        with self._changed:
            self._terminating = True
        try:
            with self._pool.lease() as channel:
                channel.ask(lambda protocol: protocol.cleanup_command(self._shell, self.id), seconds=seconds)
        except FaultReceived as fault:
            if not fault.is_gone:
                raise

    def wait_until_held(self, deadline: Deadline) -> None:
        """Wait until its reader holds still at the closed gate."""
        with self._changed:
            self._changed.notify_all()  # a reader that waits until output is wanted looks at the gate
            if not self._changed.wait_for(lambda: self._is_held or not self.is_running, deadline.remaining()):
                raise deadline.expire(f"the reader of '{self.command}' to hold still")

    def abandon(self, why: str) -> None:
        """Take it for lost; nothing is said to the guest."""
        with self._changed:
            was_running = self.is_running
            if was_running:
                self._lost = why
            self._changed.notify_all()
        self._on_end(self)
        if was_running and self._on_lost is not None:
            self._on_lost(why)

    def interrupt(self, error: HarnessError) -> None:
        """Have everybody who waits for it now get `error`; the command itself goes on."""
        with self._changed:
            self._interrupted = error
            self._changed.notify_all()

    def resynchronise(self) -> None:
        """Forget half a character that was read before the guest was put back."""
        with self._changed:
            self._interrupted = None
            self._decoders = self._make_decoders()

    def _make_decoders(self) -> dict[Stream, codecs.IncrementalDecoder]:
        make = codecs.getincrementaldecoder(self._codec)
        return {"stdout": make(errors="replace"), "stderr": make(errors="replace")}

    def _read(self) -> None:
        broken = 0
        while self.is_running:
            self._hold_at_gate()
            if not self._wait_until_awaited():
                continue
            generation = self._pool.generation
            try:
                with self._pool.lease() as channel:
                    received = channel.ask(lambda protocol: protocol.get_command_output_raw(self._shell, self.id))
                broken = 0
                # The connection is free again before anybody hears of it, and may want one for what comes next.
                self._take(*received)
            except NothingYet:
                continue
            except ConnectionBroken as error:
                if generation != self._pool.generation:
                    continue
                if self._terminating:  # some servers answer a terminated command's Receive with no exit code
                    self._end(-1)
                    return
                broken += 1
                if broken >= _BROKEN_TRIES:
                    self.abandon(error.message)
            except FaultReceived as fault:
                if self._terminating and fault.is_gone:
                    self._end(-1)
                else:
                    self.abandon(fault.message)
            except TransportError as error:
                self.abandon(error.message)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        with self._changed:
            self._sends += 1
        try:
            yield
        finally:
            with self._changed:
                self._sends -= 1
                self._changed.notify_all()

    def _is_awaited(self) -> bool:
        return self._awaits is None or (self._sends == 0 and self._awaits())

    def _wait_until_awaited(self) -> bool:
        """Wait until somebody waits for output; False when there is another reason to look again.

        So a program that is asked one thing at a time has its Receive on the connection that its input went over,
        and none is open when there is nothing to come: a connection less to be made after each revert.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_awaited() or not self.is_running or not self._gate.is_set())
            return self._gate.is_set() and self._is_awaited()

    def _hold_at_gate(self) -> None:
        if self._gate.is_set():
            return
        with self._changed:
            self._is_held = True
            self._changed.notify_all()
        self._gate.wait()
        with self._changed:
            self._is_held = False

    def _take(self, out: bytes, err: bytes, exit_code: int, is_done: bool) -> None:
        pieces: list[tuple[Stream, bytes]] = [("stdout", out), ("stderr", err)]
        for stream, raw in pieces:
            text = self._decoders[stream].decode(raw, final=is_done)
            if not text:
                continue
            if self._on_output is not None:
                self._on_output(stream, text)
                continue
            with self._changed:
                self._text[stream].append(text)
                self._changed.notify_all()
        if is_done:
            self._end(exit_code)

    def _end(self, exit_code: int) -> None:
        with self._changed:
            self._exit_code = exit_code
            self._ended_after = time.monotonic() - self._started
            self._changed.notify_all()
        self._on_end(self)
        if self._on_lost is not None:
            self._on_lost(f"'{self.command}' ended with exit code {exit_code}")

    def _wait_for_end(self, deadline: Deadline) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self.is_running or self._interrupted is not None, deadline.remaining())
            if self._interrupted is not None and self.is_running:
                raise self._interrupted
            if self._lost is not None:
                raise TransportError(f"'{self.command}' in the guest was lost: {self._lost.removesuffix('.')}.")
            return self._exit_code is not None

    def _next_text(self, deadline: Deadline) -> tuple[str, bool]:
        with self._changed:
            heard = self._text["stdout"]
            if not self._changed.wait_for(
                lambda: len(heard) > self._read_from or not self.is_running or self._interrupted is not None,
                deadline.remaining(),
            ):
                raise deadline.expire(f"a line of '{self.command}'", "".join(heard)[-200:] or "it printed nothing")
            if self._interrupted is not None and len(heard) <= self._read_from and self.is_running:
                raise self._interrupted
            piece = "".join(heard[self._read_from :])
            self._read_from = len(heard)
            if not piece and self._lost is not None:
                raise TransportError(f"'{self.command}' in the guest was lost: {self._lost.removesuffix('.')}.")
            return piece, bool(piece) or self.is_running

    def _joined(self) -> tuple[str, str]:
        with self._changed:
            return "".join(self._text["stdout"]), "".join(self._text["stderr"])
