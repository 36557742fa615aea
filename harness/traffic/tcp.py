"""TCP connections and listening ports of a station, as scenarios use them; the protocol is in `tcp_protocol`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.errors import HarnessError
from harness.link.headers import ACK, RST
from harness.traffic.address import Endpoint
from harness.traffic.tcp_protocol import MAX_RETRIES, State, TcpProtocol
from harness.waiting import Deadline


class TcpError(HarnessError):
    """A TCP connection of a station ended otherwise than the scenario asked; `reason` is one word of why.

    The reasons: 'refused', 'reset', 'timeout', 'closed', 'dropped'.
    """

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class TcpConnection(TcpProtocol):
    """One TCP connection of a station with the guest."""

    @property
    def peer(self) -> str:
        """The guest's end, as `192.0.2.2:49152`."""
        return str(self.remote)

    @property
    def received(self) -> bytes:
        """Everything that came in order so far, whether it was read or not."""
        with self._changed:
            return bytes(self._inbox.data)

    def send(self, data: bytes) -> None:
        """Queue data; it goes out as the guest's window allows."""
        with self._changed:
            if self.state is State.CLOSED or self.closing:
                raise self._broken(f"{len(data)} bytes cannot be sent")
            self._out += data
            self._transmit()

    def flush(self, deadline: Deadline) -> None:
        """Wait until the guest acknowledged everything that was sent."""
        self._wait(lambda: not self._out, deadline, "the guest to acknowledge everything")

    def receive(self, count: int, deadline: Deadline) -> bytes:
        """Exactly `count` bytes; raises TcpError when the connection ends before they have come.

        What came before an error stays to be read.
        """
        data = bytearray()
        with self._changed:
            try:
                while True:
                    data += self._take(count - len(data))  # as it comes: the count may exceed the window
                    if len(data) == count:
                        return bytes(data)
                    if self.peer_closed or self.state is State.CLOSED:
                        raise self._broken(f"{count} bytes were wanted and {len(data)} came")
                    if not self._changed.wait(deadline.remaining()) and deadline.expired:
                        raise deadline.expire(f"{count} bytes on {self!r}", f"{len(data)} bytes")
            except HarnessError:
                self._inbox.read -= len(data)
                raise

    def receive_all(self, deadline: Deadline) -> bytes:
        """Everything until the guest closes its side; raises TcpError when it resets instead."""
        data = bytearray()
        with self._changed:
            while True:
                data += self._take(self._inbox.unread)
                if self.peer_closed:
                    return bytes(data)
                if self.state is State.CLOSED:
                    raise self._broken(f"the end of the data was wanted and {len(data)} bytes came")
                if not self._changed.wait(deadline.remaining()) and deadline.expired:
                    raise deadline.expire(f"the end of the data on {self!r}", f"{len(data)} bytes")

    def close(self) -> None:
        """Send what is queued, then FIN; what the guest sends is still received."""
        with self._changed:
            if self.state is State.CLOSED or self.closing:
                return
            self.closing = True
            self._transmit()

    def reset(self) -> None:
        """End it with RST."""
        with self._changed:
            if self.state is not State.CLOSED:
                self._send_segment(self._next, RST | ACK)
                self._end("closed")

    def drop(self) -> None:
        """Forget it without a word to the guest: what a revert of the guest does to its connections."""
        with self._changed:
            self._end("dropped")

    def wait_established(self, deadline: Deadline) -> None:
        """Wait for the handshake; raises TcpError when the guest refuses or does not answer."""
        self._wait(lambda: self.established, deadline, "the handshake to complete")

    def wait_closed(self, deadline: Deadline) -> None:
        """Wait until it has ended in whatever way: both FINs acknowledged, or a reset (see `error`)."""
        with self._changed:
            while self.state is not State.CLOSED:
                if not self._changed.wait(deadline.remaining()) and deadline.expired:
                    raise deadline.expire(f"the end of {self!r}")

    def _wait(self, reached: Callable[[], bool], deadline: Deadline, describe: str) -> None:
        with self._changed:
            while not reached():
                if self.state is State.CLOSED:
                    raise self._broken(f"it was waited for {describe}")
                if not self._changed.wait(deadline.remaining()) and deadline.expired:
                    raise deadline.expire(f"{describe} on {self!r}", f"{len(self._out)} bytes not acknowledged")

    def _broken(self, wanted: str) -> TcpError:
        reason = self.error or "closed"
        happened = {
            "refused": "was refused by the guest",
            "reset": "was reset by the guest",
            "timeout": f"got no answer to {MAX_RETRIES} retransmissions",
            "dropped": "was forgotten when the guest was reverted",
        }.get(reason, "is closed")
        return TcpError(f"The connection {self.local} - {self.remote} {happened}; {wanted}.", reason=reason)


class TcpListener:
    """A listening port of a station; `connections` are all that completed the handshake, in that order."""

    def __init__(self, local: Endpoint, *, echo: bool) -> None:
        self.local, self.echo = local, echo
        self.connections: list[TcpConnection] = []
        self.closed = False
        self._handed_out = 0
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<TCP listener {self.local}, {len(self.connections)} connections>"

    def wait_for_connection(self, deadline: Deadline) -> TcpConnection:
        """The oldest connection that was not handed out yet; waits for one."""
        with self._changed:
            while self._handed_out >= len(self.connections):
                if not self._changed.wait(deadline.remaining()) and deadline.expired:
                    raise deadline.expire(f"a connection to {self.local}", f"{len(self.connections)} earlier ones")
            self._handed_out += 1
            return self.connections[self._handed_out - 1]

    def close(self) -> None:
        """Refuse connections from now on; those that exist go on."""
        self.closed = True

    def accepted(self, connection: TcpConnection) -> None:
        """Take a connection whose handshake is complete."""
        with self._changed:
            self.connections.append(connection)
            self._changed.notify_all()
