"""The second control channel: a serial port of the guest that no network filter is in the way of.

Spoken by an agent in the guest (`vm-images/reference/channel`, `drivers/channel` for Windows): one JSON object a line,
ASCII, a request of at most 4 KB and an answer of at most 64 KB. Each request carries a nonce, and an answer is believed
by its nonce alone: what a guest that was put back to a snapshot still had to say is passed over, and so is the echo of
a port that nobody has made raw yet. The guest may be broken or hostile: every answer is held against its bounds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import GuestError, TransportError
from harness.guest.threads import Process, read_processes
from harness.waiting import Deadline

VERSION = 1
ANSWER_MAX = 65536
_REQUEST_MAX = 4096
_PIECE = 24 << 10
_FILE_MAX = 256 << 20
_STACKS_MAX = 16 << 20
_TEXT_MAX = 2000
_DRIVERS_MAX = 512
_GREET_AGAIN = 1.5
_BOOT_ID = re.compile(r"[0-9A-Za-z.:{}-]{1,64}")

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What the agent says of the guest: its boot id, seconds since boot, who is loaded, whether WinRM listens there."""

    kind: str
    boot_id: str
    uptime: float
    management: bool
    drivers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """An entry of a folder in the guest: size in bytes, time in seconds since 1970."""

    name: str
    size: int
    time: int
    is_folder: bool


class Refused(GuestError):
    """The agent answered that an operation did not work; `name` is the error's name."""

    def __init__(self, op: str, name: str, message: str) -> None:
        self.name = name
        super().__init__(f"The guest's second channel refused '{op}' with {name}: {message}", command=op)


class SecondChannel:
    """Asks one request at a time; `find` gives the socket of the QEMU that runs now, None where there is no channel."""

    def __init__(self, find: Callable[[], Path | None]) -> None:
        self._find = find
        self._lock = threading.Lock()  # guards what follows
        self._socket: socket.socket | None = None
        self._rest = b""
        self.answers = 0

    def request(self, op: str, deadline: Deadline, **args: object) -> Answer:
        """Ask, and wait for the answer.

        Raises Refused when the agent says that it did not work, DeadlineExpired when nobody answers, TransportError
        when there is no channel or its answer is none.
        """
        nonce = secrets.token_hex(8)
        line = json.dumps({"nonce": nonce, "op": op} | args, separators=(",", ":")).encode()
        if len(line) > _REQUEST_MAX:
            raise TransportError(f"A request of {len(line)} bytes for the second channel, {_REQUEST_MAX} are allowed.")
        with self._lock:
            try:
                return self._ask(op, nonce, line, deadline)
            except OSError as error:
                self._drop()
                raise TransportError(f"The guest's second channel broke: {error.strerror or error}.") from error
            except TransportError:
                self._drop()
                raise

    def hello(self, deadline: Deadline) -> Hello:
        """One round trip; who the guest is.

        Raises DeadlineExpired when nobody answers: then the guest itself stands still, or has no agent.
        """
        said = self.request("hello", deadline)
        boot_id, version = said.get("boot_id"), said.get("version")
        if version != VERSION or not isinstance(boot_id, str) or not _BOOT_ID.fullmatch(boot_id):
            raise TransportError(
                f"The agent of the second channel speaks version {str(version)[:20]}, wanted {VERSION}, "
                f"and gives the boot id '{str(boot_id)[:80]}'."
            )
        drivers = said.get("drivers")
        return Hello(
            kind=str(said.get("kind"))[:20],
            boot_id=boot_id,
            uptime=_number(said.get("uptime")),
            management=said.get("management") is True,
            drivers=tuple(str(name)[:64] for name in drivers[:_DRIVERS_MAX]) if isinstance(drivers, list) else (),
        )

    def stop_service(self, name: str, deadline: Deadline) -> bool:
        """Stop a driver's service; whether it is stopped now. Raises Refused ('Timeout') when it does not end."""
        said = self.request("stop", deadline, service=name, seconds=max(0.1, deadline.remaining() - 2))
        return said.get("stopped") is True

    def kill(self, process: str, deadline: Deadline) -> int:
        """End all processes of a name, or of an id; how many there were."""
        killed = self.request("kill", deadline, process=process).get("killed")
        return len(killed) if isinstance(killed, list) else 0

    def stacks(self, process: str, deadline: Deadline) -> list[Process]:
        """The stacks of all threads of all processes of a name, taken from outside of them."""
        where = self.request("stacks", deadline, process=process, seconds=max(0.1, deadline.remaining() - 2))
        path = where.get("path")
        if not isinstance(path, str):
            raise TransportError("The second channel did not say where it put the stacks.")
        raw = self.fetch(path, deadline, at_most=_STACKS_MAX)
        try:
            return read_processes(json.loads(raw))
        except (ValueError, RecursionError) as error:
            raise TransportError(
                f"The stacks that came over the second channel are not what they should be: {error}"
            ) from error

    def list(self, folder: str, deadline: Deadline) -> list[RemoteFile]:
        r"""What is in a folder, such as C:\Windows\Minidump; 256 entries at most."""
        entries = self.request("list", deadline, path=folder).get("files")
        if not isinstance(entries, list):
            raise TransportError("The second channel answered a listing without one.")
        return [
            RemoteFile(
                name=str(entry.get("name"))[:255],
                size=int(_number(entry.get("size"))),
                time=int(_number(entry.get("time"))),
                is_folder=entry.get("folder") is True,
            )
            for entry in entries[:256]
            if isinstance(entry, dict)
        ]

    def fetch(self, remote: str, deadline: Deadline, *, at_most: int = _FILE_MAX) -> bytes:
        """A file of the guest, in pieces, held against its hash; one that is being written to is refused."""
        facts = self.request("hash", deadline, path=remote)
        size, wanted = int(_number(facts.get("size"))), facts.get("sha256")
        if size > at_most:
            raise TransportError(f"'{remote}' in the guest has {size} bytes, at most {at_most} are fetched.")
        content = bytearray()
        while True:
            said = self.request("read", deadline, path=remote, offset=len(content), count=_PIECE)
            try:
                piece = base64.b64decode(str(said.get("data", "")), validate=True)
            except binascii.Error as error:
                raise TransportError(f"A piece of '{remote}' came over the second channel garbled.") from error
            content += piece
            if said.get("end") is True or not piece:
                break
            if len(content) > at_most:
                raise TransportError(f"'{remote}' in the guest goes on behind {at_most} bytes.")
        got = hashlib.sha256(content).hexdigest()
        if len(content) != size or got != wanted:
            raise TransportError(
                f"'{remote}' came over the second channel with {len(content)} bytes and hash {got[:12]}, "
                f"wanted {size} and {str(wanted)[:12]}."
            )
        return bytes(content)

    def close(self) -> None:
        """Let go of the connection; the next request makes a new one."""
        with self._lock:
            self._drop()

    def _ask(self, op: str, nonce: str, line: bytes, deadline: Deadline) -> Answer:
        connection = self._connected(deadline)
        answer: Answer | None = None
        while answer is None:
            if deadline.expired:
                self._drop()
                raise deadline.expire(f"the guest's second channel to answer '{op}'")
            # Nobody hears what comes before the agent has opened its port, so a greeting is said again; anything else
            # is asked once. The empty line ends what a request that was cut off may have left in the guest.
            patience = deadline.sub(_GREET_AGAIN) if op == "hello" else deadline
            with suppress(TimeoutError):
                connection.settimeout(max(0.05, patience.remaining()))
                connection.sendall(b"\n" + line + b"\n")
                while answer is None or answer.get("nonce") != nonce or not isinstance(answer.get("ok"), bool):
                    answer = self._next_line(connection, patience)
                break
            answer = None
        self.answers += 1
        if answer.get("ok") is not True:
            raise Refused(op, str(answer.get("error"))[:80], str(answer.get("message"))[:_TEXT_MAX])
        return answer

    def _next_line(self, connection: socket.socket, deadline: Deadline) -> Answer | None:
        while b"\n" not in self._rest:
            if len(self._rest) > ANSWER_MAX:
                self._rest = b""
            connection.settimeout(max(0.001, deadline.remaining()))
            if deadline.expired:
                raise TimeoutError
            piece = connection.recv(ANSWER_MAX)
            if not piece:
                raise TransportError("QEMU closed the guest's second channel.")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            answer = json.loads(line) if len(line) <= ANSWER_MAX else None
        except (ValueError, RecursionError):
            return None
        return answer if isinstance(answer, dict) else None

    def _connected(self, deadline: Deadline) -> socket.socket:
        if self._socket is None:
            path = self._find()
            if path is None:
                raise TransportError("This machine has no second channel.", hint="A serial debugger takes its port.")
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(max(0.05, deadline.remaining()))
            self._socket.connect(str(path))
            self._rest = b""
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""


def _number(value: object) -> float:
    """A number that may be a size or a time; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 53:
        return 0
    return value
