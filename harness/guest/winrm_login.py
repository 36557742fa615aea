"""What makes the second connection to a guest cheaper than the first: its TLS session, and one HTTP round less of NTLM.

A guest that was put back to a snapshot has forgotten all connections; each scenario begins by making new ones, and
what the guest computes for them it computes with an emulator that has just thrown its translations away.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import requests
import spnego
from requests_ntlm import HttpNtlmAuth
from requests_ntlm.requests_ntlm import _get_certificate_hash
from spnego.channel_bindings import GssChannelBindings

_UNAUTHORIZED = 401
_TOKEN = re.compile(r"\bNTLM ([A-Za-z0-9+/=]+)")


class Memory:
    """What the connections to one endpoint learn from each other; any thread may use it."""

    def __init__(self, ca: Path) -> None:
        self._lock = threading.Lock()  # guards the fields below
        self._session: ssl.SSLSession | None = None
        self._bindings: GssChannelBindings | None = None
        self.context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        self.context.memory = self
        # An abbreviated handshake of TLS 1.2 has no public-key arithmetic at all; one of TLS 1.3 still agrees on a key.
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_verify_locations(ca)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session to go on with."""
        with self._lock:
            return self._session

    @property
    def bindings(self) -> GssChannelBindings | None:
        """What ties a login to the server's certificate; None before the first connection."""
        with self._lock:
            return self._bindings

    def learn(self, connection: ssl.SSLSocket) -> None:
        """Keep what a connection that was just made can give to the next."""
        certificate = connection.getpeercert(binary_form=True)
        with self._lock:
            if connection.session is not None:
                self._session = connection.session
            if self._bindings is None and certificate:
                digest = _get_certificate_hash(certificate) or b""
                self._bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + digest)


class _Context(ssl.SSLContext):
    """A context whose connections go on with the session of an earlier one."""

    memory: Memory

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As the library does, and note the session."""
        kwargs["session"] = self.memory.session
        try:
            wrapped = super().wrap_socket(sock, *args, **kwargs)
        except OSError as error:
            _close_half_made(error)
            raise
        try:
            self.memory.learn(wrapped)
        except BaseException:
            wrapped.close()
            raise
        return wrapped


class Login(HttpNtlmAuth):
    """NTLM that begins with its own first message where the server's certificate is known, not with a refusal."""

    def __init__(self, user: str, password: str, memory: Memory) -> None:
        super().__init__(user, password)
        self._memory = memory
        self._is_in = False

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Prepare a request: the first one of a connection carries NEGOTIATE and no body yet."""
        bindings = self._memory.bindings
        if self._is_in or bindings is None:
            return super().__call__(request)
        client = spnego.client(
            self.username, self.password, protocol="ntlm", hostname="127.0.0.1", service="http",
            channel_bindings=bindings, options=spnego.NegotiateOptions.use_ntlm,
        )  # fmt: skip
        body = request.body
        request.headers["Connection"] = "Keep-Alive"
        request.headers["Authorization"] = _header(client.step())
        _put_body(request, b"")

        def go_on(response: requests.Response, **settings: Any) -> requests.Response:
            return self._go_on(response, client, body, settings)

        request.hooks["response"].append(go_on)
        return request

    def response_hook(self, r: requests.Response, **kwargs: Any) -> requests.Response:
        """As the library does, and note whether the connection is logged in."""
        answer: requests.Response = super().response_hook(r, **kwargs)
        self._is_in = answer.status_code != _UNAUTHORIZED
        return answer

    def _go_on(
        self, response: requests.Response, client: Any, body: bytes | str | None, settings: dict[str, Any]
    ) -> requests.Response:
        response.content  # noqa: B018 - read to its end, so that the connection can be used again
        response.raw.release_conn()
        request = response.request.copy()
        _put_body(request, body)
        token = _TOKEN.search(response.headers.get("www-authenticate", ""))
        adapter: Any = response.connection
        if response.status_code != _UNAUTHORIZED or token is None:
            del request.headers["Authorization"]
            refused = adapter.send(request, **settings)
            return self.response_hook(refused, **settings)
        request.headers["Authorization"] = _header(client.step(base64.b64decode(token.group(1))))
        answer: requests.Response = adapter.send(request, **settings)
        self._is_in = answer.status_code != _UNAUTHORIZED
        return answer


def _close_half_made(error: OSError) -> None:
    """Python 3.11 leaves the socket open that it was wrapping when it found its connection reset."""
    step = error.__traceback__
    while step is not None:
        made = step.tb_frame.f_locals.get("self")
        if isinstance(made, ssl.SSLSocket):
            made.close()
        step = step.tb_next


def _header(token: bytes | None) -> str:
    return f"NTLM {base64.b64encode(token or b'').decode()}"


def _put_body(request: requests.PreparedRequest, body: bytes | str | None) -> None:
    request.body = body
    request.headers["Content-Length"] = str(len(body or b""))
