"""NTLM, plain or inside SPNEGO, once for each TCP connection."""

from __future__ import annotations

import base64
import binascii
import logging
from dataclasses import dataclass, field
from typing import Any

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
        self._context: Any = None
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
        import spnego  # it takes 0.3 s natively, ten times that under emulation: not before the port is open

        if self._context is None or scheme != self._scheme or _is_first(data):
            protocol = "ntlm" if data.startswith(b"NTLMSSP\0") else "negotiate"
            self._context, self._scheme, self.user = spnego.server(protocol=protocol), scheme, None
        try:
            answer = self._context.step(data)
        except Exception as error:
            return self._refuse(str(error))
        reply = f"{scheme} {base64.b64encode(answer).decode()}" if answer else ""
        if not self._context.complete:
            return Verdict(False, (("WWW-Authenticate", reply),))
        self.user = self._context.client_principal
        self._context = None
        return Verdict(True, (("WWW-Authenticate", reply),) if reply else ())

    def _refuse(self, why: str) -> Verdict:
        log.warning("refused: %s", why)
        self._context, self.user = None, None
        return Verdict(False, CHALLENGE)


def _is_first(data: bytes) -> bool:
    # An NTLM NEGOTIATE message, or the NegTokenInit of SPNEGO (which alone has the application tag).
    return data.startswith((b"NTLMSSP\0\x01\0\0\0", b"\x60"))
