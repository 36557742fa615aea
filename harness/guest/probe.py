"""The probe: `wfpprobe.exe`, the guest's own sockets and the front end to the driver, spoken to in JSON lines.

Requests carry an id and may overlap; replies come in any order. Made over anything that has `send`; what the
probe prints is handed to `feed`.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol

from harness.errors import GuestError, HarnessError, TransportError
from harness.guest.engine_state import EngineState, read_engine_state
from harness.guest.port_reservation import PortReservation
from harness.guest.probe_socket import ProbeListener, ProbeSocket, ProbeUdp
from harness.waiting import Deadline
from harness.wfp import status_name

__all__ = ["Connecting", "Pending", "ProbeClient", "ProbeError", "ProbeListener", "ProbeSocket", "ProbeUdp", "Reply"]

INTERFACE_VERSION = 1
# What a reply may take beyond the time that the request itself allows: a guest under emulation, busy booting.
_REPLY_SECONDS = 20.0
_TAIL = 2000
_LONGEST_LINE = 16 << 20

Reply = dict[str, Any]


class ProbeError(GuestError):
    """The probe answered that an operation did not work.

    `name` is the error's name in Windows ('WSAECONNREFUSED', 'STATUS_OBJECT_NAME_EXISTS'), `code` its number,
    `reply` all that was answered.
    """

    def __init__(self, op: str, reply: Reply) -> None:
        self.op = op
        status = reply.get("ntstatus")
        self.ntstatus = status if isinstance(status, int) else None
        self.name = status_name(self.ntstatus) if self.ntstatus is not None else str(reply.get("error", "unknown"))
        code = reply.get("code", 0)
        self.code = code if isinstance(code, int) else 0
        self.reply = reply
        words = reply.get("message")
        super().__init__(
            f"The probe's '{op}' ended with {self.name} ({self.code:#x})" + (f": {words}" if words else "."),
            command=op,
        )


class Output(Protocol):
    """Where requests go: the standard input of the probe."""

    def send(self, data: bytes | str, *, end: bool = False) -> None:
        """Write; `end` closes."""


class CallObserver(Protocol):
    """Told of each request and its reply, the reply in the reader's thread; both carry the request's number."""

    def asked(self, request: int, op: str, args: Mapping[str, object]) -> None:
        """It is about to be sent."""

    def answered(self, request: int, reply: Reply) -> None:
        """The probe has answered."""


class Pending:
    """A request that was sent and whose reply may still be on its way."""

    def __init__(self, op: str, future: Future[Reply], seconds: float) -> None:
        self._op = op
        self._future = future
        self._seconds = seconds

    @property
    def is_done(self) -> bool:
        """Whether the reply is there."""
        return self._future.done()

    def reply(self, deadline: Deadline | None = None) -> Reply:
        """Wait for the reply.

        Raises ProbeError when the probe says that it did not work, DeadlineExpired, TransportError.
        """
        limit = deadline or Deadline(self._seconds)
        try:
            answer = self._future.result(limit.remaining())
        except FutureTimeout as late:
            raise limit.expire(f"the probe's answer to '{self._op}'") from late
        if not answer.get("ok", False):
            raise ProbeError(self._op, answer)
        return answer


class Connecting:
    """A TCP connect of the guest that was begun."""

    def __init__(self, probe: ProbeClient, address: str, pending: Pending) -> None:
        self._probe = probe
        self._address = address
        self._pending = pending

    @property
    def is_done(self) -> bool:
        """Whether the connect has worked or failed."""
        return self._pending.is_done

    def result(self) -> ProbeSocket:
        """Wait for its end. A connect that failed is told by `.error`, and raised when the socket is used."""
        try:
            reply = self._pending.reply()
        except ProbeError as refused:
            return ProbeSocket(self._probe, 0, peer=self._address, local="", failure=refused)
        return ProbeSocket(
            self._probe, reply["socket"], peer=reply.get("peer", self._address), local=reply.get("local", "")
        )


class ProbeClient:
    """Talks to one running probe; may be used by several threads."""

    def __init__(self, output: Output | None = None) -> None:
        self._output = output
        self._lock = threading.Lock()  # guards what follows
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[str, Future[Reply]]] = {}
        self._rest = ""
        self._stderr = ""
        self._ready: Future[Reply] = Future()
        self._lost: str | None = None
        self.lines = 0  # it has printed so far
        self._cut_off: str | None = None
        self._listeners: list[Callable[[Reply], None]] = []
        self._observers: tuple[CallObserver, ...] = ()

    def attach(self, output: Output) -> None:
        """Give it where requests go, when that did not exist at construction."""
        self._output = output

    @property
    def pid(self) -> int:
        """Process id of the probe in the guest; it has to be ready."""
        pid = self._ready.result(0).get("pid")
        if not isinstance(pid, int):
            raise TransportError(f"The probe in the guest gave {pid!r} as its process id, which is no number.")
        return pid

    def awaits_answer(self) -> bool:
        """Whether the probe has something to say that is waited for."""
        with self._lock:
            return bool(self._waiting) or not self._ready.done()

    def wait_until_ready(self, deadline: Deadline) -> int:
        """Wait for the probe's first line, and give back its process id.

        Raises DeadlineExpired with what it printed instead, TransportError when it speaks another version.
        """
        try:
            ready = self._ready.result(deadline.remaining())
        except FutureTimeout as late:
            raise deadline.expire("the probe to be ready", (self._stderr + self._rest)[-_TAIL:] or None) from late
        if ready.get("version") != INTERFACE_VERSION:
            raise TransportError(
                f"The probe in the guest speaks version {ready.get('version')}, wanted {INTERFACE_VERSION}.",
                hint="'make -C drivers' builds the one that fits.",
            )
        return self.pid

    def start(self, op: str, *, seconds: float = 0.0, **args: object) -> Pending:
        """Send a request and come back at once; `seconds` is how long the operation itself may take."""
        future: Future[Reply] = Future()
        with self._lock:
            if self._lost is not None:
                raise TransportError(f"The probe is gone: {self._lost.removesuffix('.')}.")
            if self._cut_off is not None:
                raise TransportError(f"The probe does not answer any more: {self._cut_off}.")
            number = next(self._ids)
            self._waiting[number] = (op, future)
        for observer in self._observers:
            observer.asked(number, op, args)
        if self._output is None:
            raise TransportError("The probe was not started.")
        request = {"id": number, "op": op} | {key: value for key, value in args.items() if value is not None}
        try:
            self._output.send((json.dumps(request, separators=(",", ":")) + "\n").encode())
        except BaseException:
            with self._lock:
                self._waiting.pop(number, None)
            raise
        return Pending(op, future, seconds + _REPLY_SECONDS)

    def request(self, op: str, *, seconds: float = 0.0, **args: object) -> Reply:
        """Send a request and wait for its reply.

        Raises ProbeError when the probe says that it did not work, DeadlineExpired, TransportError.
        """
        return self.start(op, seconds=seconds, **args).reply()

    def subscribe(self, listener: Callable[[Reply], None]) -> None:
        """Have `listener` called, in the reader's thread, with each event the probe sends unasked."""
        self._listeners.append(listener)

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """Have `observer` told of every request from now on; returns how to stop it."""
        self._observers = (*self._observers, observer)

        def stop() -> None:
            self._observers = tuple(each for each in self._observers if each is not observer)

        return stop

    def feed(self, stream: str, text: str) -> None:
        """Take what the probe printed, in pieces of any size."""
        if stream != "stdout":
            self._stderr = (self._stderr + text)[-_TAIL:]
            return
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            too_long = len(self._rest) > _LONGEST_LINE
            if too_long:
                self._rest = ""
        if too_long:
            self.lose(f"it printed a line of more than {_LONGEST_LINE} characters")
        self.lines += len(lines)
        for line in lines:
            if line.strip():
                self._take(line)

    def lose(self, why: str) -> None:
        """The probe has ended: whoever waits for it, or asks later, gets TransportError with `why`."""
        with self._lock:
            self._lost = why
        self._drop(TransportError(f"The probe is gone: {why.removesuffix('.')}."))

    def interrupt(self, error: HarnessError) -> None:
        """Whoever waits for an answer now gets `error`; the probe itself goes on."""
        self._drop(error)

    def cut_off(self, why: str) -> None:
        """Whoever waits for it, or asks before `resynchronise`, gets TransportError with `why`."""
        with self._lock:
            self._cut_off = why
        self._drop(TransportError(f"The probe does not answer any more: {why}."))

    def resynchronise(self) -> None:
        """Forget what was on its way when the guest was put back; the probe itself goes on."""
        with self._lock:
            self._rest = ""
            self._cut_off = None
        self._drop(TransportError("The guest was put back to a snapshot while the probe was working on this."))

    # The operations, as a scenario uses them.

    def hello(self) -> Reply:
        """One round trip."""
        return self.request("hello")

    def tcp_listen(
        self, address: str, *, mode: str = "hold", backlog: int = 16, dual: bool = False, reservation: int | None = None
    ) -> ProbeListener:
        """Listen on an address of the guest; `mode` is hold, echo, proxy or sink. `dual`: on '[::]:80' for IPv4 too.

        With `reservation`, a token, the socket is associated with that port reservation before it is bound.
        """
        reply = self.request(
            "tcp_listen", address=address, mode=mode, backlog=backlog, dual=dual or None, reservation=reservation
        )
        return ProbeListener(self, reply["socket"], local=reply["local"])

    def tcp_connect(
        self, address: str, *, bind: str | None = None, records: bytes | None = None, seconds: float = 10.0
    ) -> ProbeSocket:
        """Connect from the guest. A connect that fails is told by `.error`, and raised when the socket is used.

        With `records`, redirect records of an accepted connection, it goes on for that connection, as a proxy does.
        """
        return self.start_tcp_connect(address, bind=bind, records=records, seconds=seconds).result()

    def start_tcp_connect(
        self, address: str, *, bind: str | None = None, records: bytes | None = None, seconds: float = 10.0
    ) -> Connecting:
        """Begin to connect from the guest and come back at once; a connect that hangs is given up after `seconds`."""
        started = self.start(
            "tcp_connect",
            seconds=seconds,
            address=address,
            bind=bind,
            records=records.hex() if records else None,
            timeout_ms=_ms(seconds),
        )
        return Connecting(self, address, started)

    def tcp_connect_all(
        self, addresses: Iterable[str], *, bind: str | None = None, seconds: float = 10.0
    ) -> list[ProbeSocket]:
        """Connect to all addresses at the same time; sockets in the order of the addresses."""
        started = [self.start_tcp_connect(address, bind=bind, seconds=seconds) for address in addresses]
        return [connecting.result() for connecting in started]

    def udp_open(self, bind: str | None = None, *, connect: str | None = None, dual: bool = False) -> ProbeUdp:
        """Open a UDP socket in the guest; unless `bind` says more, of the family that `connect` has, else of IPv4.

        With `dual` one that is bound to [::] talks IPv4, too, as to [::ffff:192.0.2.1].
        """
        if bind is None:
            bind = "[::]:0" if (connect or "").startswith("[") else "0.0.0.0:0"
        reply = self.request("udp_open", bind=bind, connect=connect, dual=dual or None)
        return ProbeUdp(self, reply["socket"], local=reply["local"])

    def reserve_ports(self, protocol: str, first: int, *, count: int = 1) -> PortReservation:
        """Reserve ports for good: from now on a socket gets one of them by the reservation's token alone.

        Raises ProbeError, with ERROR_SHARING_VIOLATION when one of them is in use or reserved.
        """
        reply = self.request("reserve_ports", protocol=protocol, port=first, count=count)
        return PortReservation(self, protocol, first, count, int(reply["token"]))

    def wfp_state(self) -> EngineState:
        """What the guest's filter engine holds now: sessions, providers, sublayers, callouts, filters.

        Raises ProbeError when the engine cannot be opened, as while it is stopped, and GuestError.
        """
        return read_engine_state(self)

    def close_all(self) -> None:
        """Close every socket of the probe."""
        self.request("close_all")

    def _take(self, line: str) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._stderr = (self._stderr + line + "\n")[-_TAIL:]
            return
        if not isinstance(message, dict):
            return
        if "id" in message:
            number = message["id"]
            with self._lock:
                known = isinstance(number, int) and number in self._waiting
                future = self._waiting.pop(number)[1] if known else None
            if future is not None:
                for observer in self._observers:
                    observer.answered(number, message)
                future.set_result(message)
            return
        if message.get("event") == "ready" and not self._ready.done():
            self._ready.set_result(message)
        for listener in tuple(self._listeners):
            listener(message)

    def _drop(self, error: HarnessError) -> None:
        with self._lock:
            dropped, self._waiting = self._waiting, {}
        for _, future in dropped.values():
            future.set_exception(error)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
