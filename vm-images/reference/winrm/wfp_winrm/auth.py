"""NTLM, plain or inside SPNEGO, once for each TCP connection."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ntlm

log = logging.getLogger(__name__)

CHALLENGE = (("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM"))


@dataclass
class Verdict:
    """Whether the request may go on; if not, the headers to send with a 401."""

    allowed: bool
    headers: tuple[tuple[str, str], ...] = field(default=())


class Login:
    """The authentication state of one connection."""

    def __init__(self) -> None:
        self._exchange: _Plain | _Wrapped | None = None
        self._scheme = ""
        self.user: str | None = None

    def check(self, header: str | None) -> Verdict:
        """Take the Authorization header of a request."""
        if header is None:
            return Verdict(True) if self.user else Verdict(False, CHALLENGE)
        scheme, _, token = header.partition(" ")
        if scheme.lower() not in ("negotiate", "ntlm"):
            return self._refuse(f"the scheme '{scheme}' is not offered")
        try:
            data = base64.b64decode(token, validate=True)
        except binascii.Error:
            return self._refuse("the token is not base64")
        if self._exchange is None or scheme != self._scheme or _is_first(data):
            plain = data.startswith(ntlm.SIGNATURE)
            self._exchange, self._scheme, self.user = _Plain() if plain else _Wrapped(), scheme, None
        try:
            answer = self._exchange.step(data)
        except Exception as error:
            return self._refuse(str(error))
        reply = f"{scheme} {base64.b64encode(answer).decode()}" if answer else ""
        if self._exchange.user is None:
            return Verdict(False, (("WWW-Authenticate", reply),))
        self.user, self._exchange = self._exchange.user, None
        return Verdict(True, (("WWW-Authenticate", reply),) if reply else ())

    def _refuse(self, why: str) -> Verdict:
        log.warning("refused: %s", why)
        self._exchange, self.user = None, None
        return Verdict(False, CHALLENGE)


class _Plain:
    """NTLM by itself, which most clients choose."""

    def __init__(self) -> None:
        self._exchange = ntlm.Exchange(Path(os.environ["NTLM_USER_FILE"]), socket.gethostname().upper()[:15])
        self._challenged = False
        self.user: str | None = None

    def step(self, data: bytes) -> bytes | None:
        """The answer to a message of the client; `user` is set when the login is complete."""
        if self._challenged:
            self.user = self._exchange.authenticate(data)
            return None
        self._challenged = True
        return self._exchange.challenge(data)


class _Wrapped:
    """NTLM inside SPNEGO."""

    def __init__(self) -> None:
        import spnego  # takes the emulated guest ten seconds: only for clients that want it

        self._context: Any = spnego.server(protocol="negotiate")

    @property
    def user(self) -> str | None:
        """Who has logged in."""
        return self._context.client_principal if self._context.complete else None

    def step(self, data: bytes) -> bytes | None:
        """The answer to a message of the client."""
        answer: bytes | None = self._context.step(data)
        return answer


def _is_first(data: bytes) -> bool:
    # An NTLM NEGOTIATE message, or the NegTokenInit of SPNEGO (which alone has the application tag).
    return data.startswith((b"NTLMSSP\0\x01\0\0\0", b"\x60"))
