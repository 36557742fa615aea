"""HTTPS connections: TLS, HTTP/1.1 with keep-alive, one thread each."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from pathlib import Path

from .auth import Login
from .commands import Dropped
from .service import MAX_BODY, Client, Service

log = logging.getLogger(__name__)

MAX_HEADERS = 64 * 1024
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
            413: "Content Too Large", 415: "Unsupported Media Type", 500: "Internal Server Error"}  # fmt: skip
_XML = "application/soap+xml;charset=UTF-8"


class BadRequest(Exception):
    """The request cannot be read; `status` is what to answer before the connection is closed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Server:
    """Listens and serves until closed."""

    def __init__(self, address: tuple[str, int], certificate: Path, service: Service) -> None:
        self._service = service
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_cert_chain(certificate)
        self._listener = socket.create_server(address, backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()  # guards _connections

    def serve(self) -> None:
        """Accept connections until `close`."""
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(connection, peer), daemon=True).start()

    def close(self) -> None:
        """Stop listening and cut all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve_connection(self, raw: socket.socket, peer: tuple[str, int]) -> None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A peer that is gone without a word (its host was restarted, this guest was reverted) is noticed in a minute.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        with raw:
            try:
                connection = self._tls.wrap_socket(raw, server_side=True)
            except (OSError, ssl.SSLError) as error:
                log.info("%s: no TLS: %s", peer, error)
                return
        with self._lock:
            self._connections.add(connection)
        try:
            _Exchange(connection, peer[0], self._service).run()
        except (OSError, ssl.SSLError, Dropped) as error:
            log.info("%s: connection ended: %r", peer, error)
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class _Exchange:
    """Requests and responses of one connection."""

    def __init__(self, connection: ssl.SSLSocket, peer: str, service: Service) -> None:
        self._connection = connection
        self._peer = peer
        self._service = service
        self._login = Login()
        self._buffer = b""

    def run(self) -> None:
        while True:
            try:
                request = self._read()
            except BadRequest as error:
                self._write(error.status, [], str(error).encode(), "text/plain", close=True)
                return
            if request is None:
                return
            method, target, headers, body = request
            close = headers.get("connection", "").lower() == "close"
            if not self._respond(method, target, headers, body, close=close) or close:
                return

    def _respond(  # noqa: PLR0911 - one return for each way to refuse
        self, method: str, target: str, headers: dict[str, str], body: bytes, *, close: bool
    ) -> bool:
        path = target.partition("?")[0].rstrip("/").lower()
        if path not in ("/wsman", "/wsman-anon/identify"):
            self._write(404, [], b"", None, close=close)
            return True
        if method != "POST":
            self._write(405, [("Allow", "POST")], b"", None, close=close)
            return True
        if headers.get("wsmanidentify", "").lower() == "unauthenticated" and b"Identify" in body:
            self._write(200, [], self._service.identify(), _XML, close=close)
            return True
        verdict = self._login.check(headers.get("authorization"))
        if not verdict.allowed:
            self._write(401, list(verdict.headers), b"", None, close=close)
            return True
        if not body:
            # The round of a client that authenticates first and sends its message after.
            self._write(200, list(verdict.headers), b"", _XML, close=close)
            return True
        if "soap+xml" not in headers.get("content-type", ""):
            self._write(415, [], b"", None, close=close)
            return True
        status, answer, undo = self._service.answer(
            body, Client(self._login.user or "", self._peer, self._connection.fileno())
        )
        try:
            self._write(status, list(verdict.headers), answer, _XML, close=close)
        except OSError:
            undo()
            raise
        return True

    def _read(self) -> tuple[str, str, dict[str, str], bytes] | None:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEADERS:
                raise BadRequest(400, "The headers are too long.")
            data = self._connection.recv(65536)
            if not data:
                return None
            self._buffer += data
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadRequest(400, "The request line is malformed.")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise BadRequest(400, "A header line has no colon.")
            headers[name.strip().lower()] = value.strip()
        if "chunked" in headers.get("transfer-encoding", "").lower():
            self._buffer = rest
            return parts[0], parts[1], headers, self._read_chunks()
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise BadRequest(400, "The Content-Length is not a number.")
        self._buffer = rest
        return parts[0], parts[1], headers, self._read_exactly(int(length), headers)

    def _read_exactly(self, length: int, headers: dict[str, str] | None = None) -> bytes:
        if length > MAX_BODY:
            raise BadRequest(413, f"The body has {length} bytes; {MAX_BODY} are allowed.")
        if headers and headers.get("expect", "").lower() == "100-continue" and len(self._buffer) < length:
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < length:
            data = self._connection.recv(65536)
            if not data:
                raise ConnectionResetError("the connection ended in the middle of a request")
            self._buffer += data
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._buffer += self._read_more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _read_more(self) -> bytes:
        data = self._connection.recv(65536)
        if not data:
            raise ConnectionResetError("the connection ended in the middle of a request")
        return data

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            try:
                size = int(self._read_line().partition(b";")[0], 16)
            except ValueError as error:
                raise BadRequest(400, "A chunk has no size.") from error
            if size == 0:
                while self._read_line():
                    pass
                return body
            if len(body) + size > MAX_BODY:
                raise BadRequest(413, f"The body is longer than {MAX_BODY} bytes.")
            body += self._read_exactly(size)
            self._read_line()

    def _write(
        self, status: int, headers: list[tuple[str, str]], body: bytes, content_type: str | None, *, close: bool
    ) -> None:
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", "Server: Microsoft-HTTPAPI/2.0"]
        lines += [f"{name}: {value}" for name, value in headers]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        if close:
            lines.append("Connection: close")
        lines.append(f"Content-Length: {len(body)}")
        self._connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
