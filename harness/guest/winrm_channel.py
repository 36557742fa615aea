"""HTTP connections that carry WS-Management: pywinrm's Protocol, made cuttable, with our own errors."""

from __future__ import annotations

import socket
import ssl
import threading
import weakref
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import requests
import requests.adapters
import spnego.exceptions
import urllib3
from urllib3.connection import HTTPSConnection
from winrm.exceptions import (
    AuthenticationError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol

from harness.errors import AuthenticationFailed, TransportError
from harness.guest.winrm_login import Login, Memory

T = TypeVar("T")

# How long the guest may hold back the answer to one Receive. Windows itself allows 60 s by default.
OPERATION_TIMEOUT = 20
# How much longer than that the client waits before it takes the connection for dead.
READ_GRACE = 10.0

_IDENTIFY = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:wsmid="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">'
    "<s:Header/><s:Body><wsmid:Identify/></s:Body></s:Envelope>"
)
# The longest answer: Windows' own limit, MaxEnvelopeSizekb, is 500 KiB.
MOST_ANSWERED = 16 << 20
_PIECE = 1 << 16
_UNAUTHORIZED = 401
_DECLARATION = b"<!DOCTYPE"  # where bombs of entities are declared
# Faults that say that the shell or the command does not exist (any more).
GONE_FAULTS = frozenset({0x80338029, 0x8033805B, 0x80070057, 0x80338113})


# What pywinrm raises over answers that are none: it takes them for granted, with `assert` and `next`.
_UNREADABLE = (
    ET.ParseError,
    StopIteration,
    LookupError,
    ValueError,
    AttributeError,
    TypeError,
    AssertionError,
    RecursionError,
    spnego.exceptions.SpnegoError,
)


class NothingYet(Exception):
    """A Receive came back without output because its operation time-out ran out; ask again."""


class ConnectionBroken(TransportError):
    """The connection could not be made or broke; another one may work."""


class FaultReceived(TransportError):
    """The server answered with a WS-Management fault; `code` is Microsoft's number for it, where it gave one."""

    def __init__(self, message: str, *, code: int | None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code

    @property
    def is_gone(self) -> bool:
        """Whether the fault says that the shell or command does not exist."""
        return self.code in GONE_FAULTS


class Channel:
    """One authenticated HTTPS connection; used by one thread at a time, but `cut` may come from any."""

    def __init__(
        self, *, port: int, user: str, password: str, ca: Path, operation_timeout: int, memory: Memory | None = None
    ) -> None:
        self._endpoint = f"https://127.0.0.1:{port}/wsman"
        self._user = user
        self._sockets: _Sockets = _Sockets()
        self._protocol = Protocol(
            endpoint=self._endpoint,
            transport="ntlm",
            username=user,
            password=password,
            ca_trust_path=str(ca),
            server_cert_validation="validate",
            message_encryption="auto",
            operation_timeout_sec=operation_timeout,
            read_timeout_sec=operation_timeout + int(READ_GRACE),
            proxy=None,
        )
        session = self._protocol.transport.build_session()
        session.trust_env = False  # no proxy and no certificate bundle of the user's environment on a loopback link
        memory = memory or Memory(ca)
        session.auth = Login(user, password, memory)
        session.mount("https://", _CuttableAdapter(self._sockets, memory))

    def ask(self, call: Callable[[Protocol], T], *, seconds: float | None = None) -> T:
        """Make one call of pywinrm, bounded by `seconds`, and translate what goes wrong.

        Raises NothingYet, AuthenticationFailed, FaultReceived, ConnectionBroken.
        """
        limit = seconds if seconds is not None else self._protocol.operation_timeout_sec + READ_GRACE
        transport: Any = self._protocol.transport  # declared int, handed to requests, which takes fractions
        transport.read_timeout_sec = max(limit, 0.05)
        try:
            return call(self._protocol)
        except WinRMOperationTimeoutError as nothing:
            raise NothingYet from nothing
        except (AuthenticationError, PermissionError) as refused:
            raise AuthenticationFailed(
                f"WinRM on {self._endpoint} refused the password of user '{self._user}'.",
                hint="The secrets must be those of the image that the machine was started from.",
            ) from refused
        except WSManFaultError as fault:
            raise FaultReceived(
                f"WinRM answered with a fault: {fault.reason.strip()}", code=fault.wsman_fault_code
            ) from fault
        except WinRMTransportError as error:
            raise ConnectionBroken(f"WinRM on {self._endpoint} answered with HTTP status {error.code}.") from error
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise AuthenticationFailed(
                    f"The certificate of {self._endpoint} is not the one that was pinned.",
                    hint="The port may belong to another machine, or the image was rebuilt after the machine started.",
                ) from error
            raise ConnectionBroken(f"TLS with {self._endpoint} broke: {error}") from error
        except requests.exceptions.ConnectTimeout as error:
            raise ConnectionBroken(f"{self._endpoint} did not take the connection within {limit:.1f} s.") from error
        except requests.exceptions.Timeout as error:
            raise ConnectionBroken(f"{self._endpoint} did not answer within {limit:.1f} s.") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionBroken(
                f"The connection to {self._endpoint} failed: {_innermost(error)}.",
                hint="Is the machine running, and is this its WinRM port?",
            ) from error
        except _UNREADABLE as error:
            raise ConnectionBroken(
                f"{self._endpoint} answered with something that is not WS-Management: {error!r}."
            ) from error

    def identify(self, *, seconds: float) -> dict[str, str]:
        """Ask the server what it is; keys are the local names of the answer."""
        answer = self.ask(lambda protocol: protocol.transport.send_message(_IDENTIFY), seconds=seconds)
        try:
            return {node.tag.rpartition("}")[2]: (node.text or "").strip() for node in _parse(answer).iter()}
        except ET.ParseError as error:
            raise ConnectionBroken(f"{self._endpoint} answered Identify with something that is not XML.") from error

    def cut(self) -> None:
        """Break the connection under whoever waits on it, and forget it."""
        for open_socket in self._sockets.all():
            with suppress(OSError):
                # The plain socket's shutdown: SSLSocket's own would pull the TLS state from under the reader.
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection in good order; nobody may be using it."""
        self._protocol.transport.close_session()


class ChannelPool:
    """Idle channels of one endpoint: a caller takes one, and a new one is made when all are in use."""

    def __init__(self, make: Callable[[], Channel]) -> None:
        self._make = make
        self._lock = threading.Lock()  # guards the four below
        self._shut: str | None = None
        self._idle: list[Channel] = []
        self._taken: set[Channel] = set()
        self._generation = 0
        self.answers = 0  # to what was asked over all channels; one that says "nothing yet" is none

    @property
    def generation(self) -> int:
        """Number of times that all connections were cut."""
        return self._generation

    @contextmanager
    def lease(self) -> Iterator[Channel]:
        """A channel for the duration of the block; it is thrown away when the block ends with a transport error."""
        with self._lock:
            if self._shut is not None:
                raise ConnectionBroken(f"WinRM is not asked any more: {self._shut}.")
            generation = self._generation
            channel = self._idle.pop() if self._idle else self._make()
            self._taken.add(channel)
        keep = True
        try:
            yield channel
            self.answers += 1
        except (ConnectionBroken, AuthenticationFailed):
            keep = False
            raise
        finally:
            with self._lock:
                self._taken.discard(channel)
                if keep and generation == self._generation:
                    self._idle.append(channel)
                else:
                    keep = False
            if not keep:
                channel.close()

    def cut(self, *, shut: str | None = None) -> None:
        """Break every connection, used or idle; who waits on one gets ConnectionBroken.

        With `shut`, a reason, no other is made until the next call.
        """
        with self._lock:
            self._shut = shut
            self._generation += 1
            idle, self._idle = self._idle, []
            taken = list(self._taken)
        for channel in taken:
            channel.cut()
        for channel in idle:
            channel.cut()
            channel.close()


class _Sockets:
    """The sockets that a channel has open, kept weakly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _open
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def add(self, opened: socket.socket) -> None:
        with self._lock:
            self._open.add(opened)

    def all(self) -> list[socket.socket]:
        with self._lock:
            return list(self._open)


class _CuttableAdapter(requests.adapters.HTTPAdapter):
    """An adapter that notes the sockets of its connections, so that another thread can cut them."""

    def __init__(self, sockets: _Sockets, memory: Memory) -> None:
        self._noted = sockets
        self._memory = memory
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._memory.context, **kwargs)
        noted = self._noted

        class Connection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                if isinstance(self.sock, (socket.socket, ssl.SSLSocket)):
                    noted.add(self.sock)

        class Pool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": urllib3.HTTPConnectionPool, "https": Pool}

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """As the library does, but for answers without end, and for what XML has no need of here."""
        response: requests.Response = super().send(request, *args, **kwargs)
        length = response.headers.get("Content-Length", "")
        if response.status_code == _UNAUTHORIZED and length.isdecimal() and int(length) <= MOST_ANSWERED:
            return response  # whose connection, still unread, tells the login which certificate the server has
        body = bytearray()
        for piece in response.raw.stream(_PIECE, decode_content=True):
            body += piece
            if len(body) > MOST_ANSWERED:
                response.raw.close()
                raise requests.exceptions.ContentDecodingError(f"an answer of more than {MOST_ANSWERED} bytes")
        if _DECLARATION in bytes(body).replace(b"\0", b"").upper():  # in UTF-16 as well
            raise requests.exceptions.ContentDecodingError("an answer with a document type")
        response._content = bytes(body)  # noqa: SLF001 - where the library keeps what it has read
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        return response

    def cert_verify(self, conn: Any, *_: Any, **__: Any) -> None:
        """The context has the one certificate that is trusted, and is strict from the start."""
        conn.cert_reqs, conn.ca_certs = "CERT_REQUIRED", None


def _parse(answer: bytes) -> ET.Element:
    return ET.fromstring(answer)  # noqa: S314 - from an authenticated server; pywinrm reads all its answers this way


def _innermost(error: BaseException) -> str:
    """The operating system's words at the bottom of requests' nested errors."""
    cause: BaseException = error
    seen: set[int] = set()
    while id(cause) not in seen:
        seen.add(id(cause))
        inner = next((a for a in cause.args if isinstance(a, BaseException)), None)
        deeper = getattr(cause, "reason", None) or inner or cause.__cause__ or cause.__context__
        if not isinstance(deeper, BaseException):
            break
        cause = deeper
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
