"""A guest without a machine: a host on the other end of a memory link, and the steps of a script played on it."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from harness.errors import HarnessError
from harness.link import MemoryLink
from harness.link.headers import endpoint_text
from harness.reproduce.guest_side import GuestResult, Standing, Trouble
from harness.traffic import Stations, TcpConnection, TcpListener
from harness.traffic.tcp_protocol import State
from harness.traffic.udp import UdpSocket
from harness.waiting import Deadline


@dataclass
class Channel:
    connection: TcpConnection | None = None
    listener: TcpListener | None = None
    socket: UdpSocket | None = None
    peer: str = ""
    via: int = -1
    heard: int = 0
    skip: bool = False


@dataclass
class FakeGuest:
    """Plays scripts with a station's sockets. `deaf` drops what reaches its applications in the named channels."""

    link: MemoryLink
    address: str = "192.0.2.2"
    address6: str = "2001:db8::2"
    channels: dict[int, Channel] = field(default_factory=dict)
    verbs: list[list[str]] = field(default_factory=list)
    number: int = 0
    waits: int | None = None
    done: bool = False
    over: bool = False
    released: int = 0

    def __post_init__(self) -> None:
        self.hosts = Stations(self.link, guest_mac="02:00:c0:00:02:01", gateway=self.address, gateway6=self.address6)
        self.strays: list[TcpConnection] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def load(self, script: bytes) -> tuple[Trouble, ...]:
        head, _, _ = script.partition(b"\n")
        begin = int(head.split()[2])
        self.data = script[begin:]
        lines = script[len(head) + 1 : begin].decode().splitlines()
        at = lines.index("go")
        assert lines[-1] == "end"
        for line in lines[:at]:
            verb, number, *words = line.split()
            channel = self._channel(number)
            if verb == "listen":
                host, port = words[0].rsplit(":", 1)
                channel.listener = self._station(host).tcp_listen(int(port))
            elif verb == "udp":
                host, port = words[0].rsplit(":", 1)
                channel.socket = self._station(host).udp(int(port))
            else:
                channel.via, channel.peer = int(words[0]), words[1]
        self.verbs = [line.split() for line in lines[at + 1 : -1]]
        return ()

    def start(self, *, keep_time: bool) -> None:
        self._thread.start()

    def standing(self) -> Standing:
        return Standing(self.waits, self.number, self.done)

    def skip(self, channel: int) -> None:
        self._channel(str(channel)).skip = True

    def release(self, hold: int) -> None:
        self.released = hold

    def result(self, deadline: Deadline) -> GuestResult:
        self._thread.join(deadline.remaining())
        assert not self._thread.is_alive(), self.standing()
        received = {}
        for number, channel in self.channels.items():
            if channel.connection is not None and channel.connection.received:
                data = channel.connection.received
                received[number] = (len(data), zlib.crc32(data))
        return GuestResult(received, ())

    def close(self) -> None:
        """End it, wherever its script stands."""
        self.over = True
        if self._thread.ident is not None:
            self._thread.join(20)
        self.hosts.close()

    def _station(self, host: str):  # type: ignore[no-untyped-def]
        return self.hosts.add(str(ip_address(host.strip("[]"))))

    def _channel(self, number: str) -> Channel:
        return self.channels.setdefault(int(number), Channel())

    def _until(self, number: int, reached: Callable[[], object], *, is_told: bool = True) -> None:
        channel = self._channel(str(number))
        while not (channel.skip or self.over or reached()):
            self.waits = number if is_told else None
            with self._changed:
                self._changed.wait(0.001)
        self.waits = None

    def _play(self) -> None:
        for verb, number, _, channel_number, *words in self.verbs:
            self.number = int(number)
            channel = self._channel(channel_number)
            if verb == "hold":
                self._until(int(channel_number), lambda hold=int(words[0]): self.released >= hold, is_told=False)
            elif not (channel.skip or self.over):
                with suppress(HarnessError):
                    self._take(verb, int(channel_number), channel, words)
        self.done = True

    def _take(self, verb: str, number: int, channel: Channel, words: list[str]) -> None:
        connection = channel.connection
        if verb == "accept":
            listener = self._channel(words[0]).listener
            assert listener
            self._until(number, lambda: any(c.peer == words[1] and c not in self.strays for c in listener.connections))
            found = [c for c in listener.connections if c.peer == words[1] and c not in self.strays]
            if found:
                channel.connection = found[0]
                self.strays.append(found[0])
        elif verb == "connect":
            (host, port), (there, remote) = (word.rsplit(":", 1) for word in words)
            channel.connection = self._station(host).tcp_connect(there.strip("[]"), int(remote), source_port=int(port))
        elif verb in {"heard", "sendto"}:
            self._datagram(verb, number, channel, words)
        elif connection is None:
            return
        elif verb == "send":
            self._until(number, lambda: connection.established or connection.state is State.CLOSED)
            connection.send(self._bytes(words))
        elif verb == "got":
            wanted = int(words[0])
            self._until(number, lambda: self._read(connection) >= wanted or connection.state is State.CLOSED)
        elif verb == "eof":
            self._until(number, lambda: connection.peer_closed or connection.state is State.CLOSED)
        elif verb == "ended":
            self._until(number, lambda: connection.state is State.CLOSED)
        elif verb in {"shutdown", "close"}:
            connection.close()
        elif verb == "abort":
            connection.reset()
        else:
            raise AssertionError(verb)

    def _datagram(self, verb: str, number: int, channel: Channel, words: list[str]) -> None:
        socket = self._channel(str(channel.via)).socket
        assert socket
        host, port = channel.peer.rsplit(":", 1)
        if verb == "sendto":
            socket.send_to(host.strip("[]"), int(port), self._bytes(words))
            return

        def heard() -> bool:
            return sum(endpoint_text(each.source, each.source_port) == channel.peer for each in socket.received) >= int(
                words[0]
            )

        self._until(number, heard)

    def _read(self, connection: TcpConnection) -> int:
        with suppress(HarnessError):
            connection.receive(connection._inbox.unread, Deadline(1))
        return len(connection.received)

    def _bytes(self, words: list[str]) -> bytes:
        at, size = map(int, words)
        return self.data[at : at + size]
