"""Expectations on the sockets of the guest and on bytes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Protocol

from harness.errors import ExpectationFailed, HarnessError
from harness.expect.failure import fail
from harness.expect.matching import Want, describe, fits

# A handshake that is over on the wire may still wait for the guest's program.
_ACCEPT_SECONDS = 5.0


class Accepted(Protocol):
    """A connection that a listener of the guest accepted."""

    peer: str
    local: str

    def redirect_context(self) -> bytes:
        """The redirect context that the driver left for it; an error when there is none."""


class Listener(Protocol):
    """A listening socket of the guest."""

    local: str

    def state(self) -> dict[str, Any]:
        """What the probe knows of it, without waiting."""

    def accept(self, *, seconds: float = 10.0) -> Any:
        """The next connection that was made to it."""


class ListenerExpect:
    """What a listener of the guest saw."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def accepted(self, original_remote: str | None = None, *, count: int = 1) -> None:
        """Exactly `count` connections were made to it; with `original_remote` each was meant for that address."""
        connections = [self._next(number, count) for number in range(count)]
        seen = int(self._listener.state().get("accepted", 0))
        if seen != count:
            raise self._wrong_count(count, seen)
        for connection in connections if original_remote is not None else ():
            remote = original_remote_of(connection)
            if not fits(original_remote, remote):
                raise fail(
                    "expect(listener).accepted",
                    f"a connection that was meant for {original_remote}",
                    f"one from {connection.peer} that was meant for {remote}",
                )

    def _next(self, number: int, count: int) -> Accepted:
        try:
            connection: Accepted = self._listener.accept(seconds=_ACCEPT_SECONDS)
        except HarnessError as error:
            raise self._wrong_count(count, number) from error
        return connection

    def _wrong_count(self, wanted: int, seen: int) -> ExpectationFailed:
        return fail("expect(listener).accepted", f"{wanted} connections accepted at {self._listener.local}", f"{seen}")

    def nothing(self) -> None:
        """No connection was made to it."""
        self.accepted(count=0)


_SOCKADDR_AT, _AF_INET, _AF_INET6 = 8, 2, 23  # as Windows numbers them


def original_remote_of(connection: Accepted) -> str:
    """Where an accepted connection was meant to go, as the driver's redirect context says.

    WFPCALLOUT_REDIRECT_CONTEXT holds it as a SOCKADDR_STORAGE behind eight bytes of the rule's own; a shorter
    context is an IPv4 address of 4 bytes, then the port.
    """
    context = connection.redirect_context()
    address = context[_SOCKADDR_AT:]
    family = int.from_bytes(address[:2], "little")
    if len(address) >= 28 and family in (_AF_INET, _AF_INET6):
        port = int.from_bytes(address[2:4], "big")
        if family == _AF_INET:
            return f"{ip_address(address[4:8])}:{port}"
        return f"[{ip_address(address[8:24])}]:{port}"
    if len(context) < 6:
        raise fail(
            "expect(listener).accepted", "a redirect context with an address and a port", f"{len(context)} bytes"
        )
    return f"{'.'.join(str(byte) for byte in context[:4])}:{int.from_bytes(context[4:6], 'big')}"


class ConnectionExpect:
    """What became of a connect in the guest."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def connected(self) -> None:
        """The guest's program got its connection."""
        error = self._connection.error
        if error is not None:
            raise fail("expect(connection).connected", f"a connection to {self._connection.peer}", f"{error}")

    def failed(self, error: Want = None) -> None:
        """The connect failed; with `error` by that name, or one of those names."""
        seen = self._connection.error
        if seen is None:
            raise fail(
                "expect(connection).failed",
                f"no connection to {self._connection.peer}",
                f"one from {self._connection.local}",
            )
        if error is not None and not fits(error, seen):
            raise fail("expect(connection).failed", describe({"error": error}), f"error '{seen}'")


class ValueExpect:
    """Expectations on bytes and plain values."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def equals(self, wanted: object) -> None:
        """It is this value."""
        if self._value != wanted:
            raise fail(
                "expect(value).equals", self._show(wanted), self._show(self._value), self._first_difference(wanted)
            )

    def contains(self, wanted: object) -> None:
        """It holds this part."""
        if wanted not in self._value:
            raise fail("expect(value).contains", f"{self._show(wanted)} in it", self._show(self._value))

    def satisfies(self, rule: Callable[[Any], bool], words: str) -> None:
        """`rule` holds for it; `words` say what that means."""
        if not rule(self._value):
            raise fail("expect(value).satisfies", words, self._show(self._value))

    def _first_difference(self, wanted: object) -> str | None:
        if not (isinstance(wanted, bytes) and isinstance(self._value, bytes)) or not self._value:
            return None
        at = next(
            (i for i, (a, b) in enumerate(zip(wanted, self._value, strict=False)) if a != b),
            min(len(wanted), len(self._value)),
        )
        return f"they are the same up to offset {at}"

    @staticmethod
    def _show(value: object) -> str:
        if isinstance(value, bytes):
            return f"{len(value)} bytes {value[:48]!r}{'...' if len(value) > 48 else ''}"
        return f"'{value}'"
