"""UDP sockets of a station."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import UsageError
from harness.link.headers import UDP, address_text
from harness.traffic.address import Endpoint, pack_address
from harness.traffic.assemble import udp_body
from harness.waiting import Deadline

Emit = Callable[[bytes, bytes, int, bytes], None]
"""How a socket sends: source, destination, protocol, transport body."""

MTU = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """A datagram that a station received."""

    payload: bytes
    source: str
    source_port: int


class UdpSocket:
    """A UDP socket of a station; `received` keeps every datagram, `receive` hands them out one by one."""

    def __init__(self, emit: Emit, local: Endpoint, *, echo: bool) -> None:
        self._emit = emit
        self.local = local
        self.echo = echo
        self.received: list[Datagram] = []
        self._handed_out = 0
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<UDP socket {self.local}>"

    def send_to(self, address: str, port: int, payload: bytes) -> None:
        """Send one datagram."""
        destination = pack_address(address)
        room = MTU - 8 - (20 if len(destination) == 4 else 40)
        if len(payload) > room:
            raise UsageError(
                f"A datagram of {len(payload)} bytes does not fit the MTU of {MTU}; {room} bytes do.",
                hint="Stations do not fragment. Send fragments as crafted frames.",
            )
        body = udp_body(self.local.packed, destination, (self.local.port, port), payload)
        self._emit(self.local.packed, destination, UDP, body)

    def receive(self, deadline: Deadline) -> Datagram:
        """The oldest datagram that was not handed out yet; waits for one."""
        with self._changed:
            while self._handed_out >= len(self.received):
                if not self._changed.wait(deadline.remaining()) and deadline.expired:
                    raise deadline.expire(f"a datagram at {self.local}", f"{len(self.received)} earlier ones")
            self._handed_out += 1
            return self.received[self._handed_out - 1]

    def deliver(self, source: bytes, source_port: int, payload: bytes) -> None:
        """Take a datagram from the link."""
        with self._changed:
            self.received.append(Datagram(payload=payload, source=address_text(source), source_port=source_port))
            self._changed.notify_all()
        if self.echo:
            body = udp_body(self.local.packed, source, (self.local.port, source_port), payload)
            self._emit(self.local.packed, source, UDP, body)
