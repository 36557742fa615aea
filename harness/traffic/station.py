"""One host on a link: its TCP and UDP ports, and how it refuses what no port listens for."""

from __future__ import annotations

import secrets
import struct
import threading
from dataclasses import dataclass
from typing import Protocol

from harness.errors import UsageError
from harness.link.headers import ACK, FIN, RST, SYN, TCP, UDP, IpPacket, TcpSegment, address_text, parse_tcp
from harness.traffic.address import Endpoint, pack_address
from harness.traffic.assemble import ECHO, icmp_body, icmp_protocol, tcp_body
from harness.traffic.tcp import TcpConnection, TcpListener
from harness.traffic.tcp_protocol import State
from harness.traffic.timers import Timers
from harness.traffic.udp import UdpSocket
from harness.waiting import Deadline

_FIRST_EPHEMERAL = 49152
_TOO_BIG = {4: bytes((3, 4)), 16: bytes((2, 0))}  # ICMP type and code by length of the address
_PORTS_AND_SEQ = struct.Struct(">HHI")


@dataclass(slots=True, kw_only=True)
class TrafficCounters:
    """What the stations saw of the guest: `unanswered` packets were for addresses that no station has."""

    packets: int = 0
    bad_packets: int = 0
    unanswered: int = 0
    refused: int = 0


class Network(Protocol):
    """What a station needs of the network it stands in."""

    timers: Timers
    counters: TrafficCounters
    frame_in_hand: bytes

    def emit(self, source: bytes, destination: bytes, protocol: int, body: bytes) -> None:
        """Send a packet of a station to the guest; never waits."""

    def ping(self, deadline: Deadline, *, source: Station | None = None) -> float:
        """One echo request to the guest and its reply; returns the seconds it took."""


class Station:
    """One host on the link or behind its gateway; made by `Stations.add`."""

    def __init__(self, network: Network, address: bytes, mac: bytes) -> None:
        self._network = network
        self.packed, self.mac = address, mac
        self._lock = threading.Lock()  # guards the tables
        self._listeners: dict[int, TcpListener] = {}
        self._connections: dict[tuple[int, bytes, int], TcpConnection] = {}
        self._sockets: dict[int, UdpSocket] = {}
        self._next_port = _FIRST_EPHEMERAL + secrets.randbelow(8192)

    def __repr__(self) -> str:
        return f"<station {self.address}>"

    @property
    def address(self) -> str:
        """Its address as text."""
        return address_text(self.packed)

    @property
    def connections(self) -> list[TcpConnection]:
        """Every TCP connection since the last reset, open or ended."""
        with self._lock:
            return list(self._connections.values())

    def tcp_listen(self, port: int, *, echo: bool = False) -> TcpListener:
        """Listen on a TCP port; with `echo`, everything that comes is sent back and a close is answered by one."""
        with self._lock:
            known = self._listeners.get(port)
            if known is not None and not known.closed:
                raise UsageError(f"Station {self.address} listens on TCP port {port} already.")
            listener = TcpListener(Endpoint(self.packed, port), echo=echo)
            self._listeners[port] = listener
            return listener

    def tcp_connect(
        self, address: str, port: int, deadline: Deadline | None = None, *, source_port: int | None = None
    ) -> TcpConnection:
        """Open a TCP connection; waits for the handshake where a deadline is given.

        Raises TcpError when the guest refuses it, DeadlineExpired when it does not answer.
        """
        remote = Endpoint(pack_address(address), port)
        with self._lock:
            local = Endpoint(self.packed, source_port or self._free_port(remote))
            connection = self._connection(local, remote, None)
        connection.open_actively()
        if deadline is not None:
            connection.wait_established(deadline)
        return connection

    def udp(self, port: int | None = None, *, echo: bool = False) -> UdpSocket:
        """Open a UDP socket on a port, or on a free one; with `echo`, every datagram is sent back."""
        with self._lock:
            if port is None:
                port = next(number for number in range(self._next_port, 65536) if number not in self._sockets)
                self._next_port = port + 1 if port < 65535 else _FIRST_EPHEMERAL
            if port in self._sockets:
                raise UsageError(f"Station {self.address} has a socket on UDP port {port} already.")
            self._sockets[port] = UdpSocket(self._network.emit, Endpoint(self.packed, port), echo=echo)
            return self._sockets[port]

    def ping(self, deadline: Deadline) -> float:
        """One echo request to the guest and its reply; returns the seconds it took."""
        return self._network.ping(deadline, source=self)

    def send_echo(self, address: str, payload: bytes = b"") -> None:
        """One echo request to an address of the guest; waits for nothing: the witness sees whether it is answered."""
        target = pack_address(address)
        kind, rest = ECHO[len(target)][0], secrets.token_bytes(4) + payload
        self._network.emit(self.packed, target, icmp_protocol(target), icmp_body(self.packed, target, kind, 0, rest))

    def reset(self) -> None:
        """Forget connections, listeners and sockets without a frame."""
        with self._lock:
            connections = list(self._connections.values())
            self._connections.clear()
            self._listeners.clear()
            self._sockets.clear()
        for connection in connections:
            connection.drop()

    def deliver(self, packet: IpPacket) -> None:
        """Take a packet that was addressed to this station."""
        if packet.fragment:
            self._network.counters.unanswered += 1
        elif packet.protocol == TCP:
            segment = parse_tcp(packet)
            if segment is not None:
                self._deliver_tcp(packet, segment)
        elif packet.protocol == UDP:
            self._deliver_udp(packet)
        elif packet.protocol == icmp_protocol(self.packed) and packet.body[0] == ECHO[len(self.packed)][0]:
            reply = icmp_body(self.packed, packet.source, ECHO[len(self.packed)][1], 0, packet.body[4:])
            self._network.emit(self.packed, packet.source, packet.protocol, reply)
        elif packet.protocol == icmp_protocol(self.packed) and packet.body[:2] == _TOO_BIG[len(self.packed)]:
            self._deliver_too_big(packet.body)

    def _deliver_tcp(self, packet: IpPacket, segment: TcpSegment) -> None:
        key = (segment.destination_port, packet.source, segment.source_port)
        opening = segment.flags & (SYN | ACK | RST | FIN) == SYN
        with self._lock:
            connection = self._connections.get(key)
            listener = self._listeners.get(segment.destination_port)
            if opening and (connection is None or connection.state is State.CLOSED):
                if listener is None or listener.closed:
                    connection = None
                else:
                    local = Endpoint(self.packed, segment.destination_port)
                    connection = self._connection(local, Endpoint(packet.source, segment.source_port), listener)
                    connection.open_passively(segment)
                    return
        if connection is not None:
            connection.deliver(segment)
        elif not segment.flags & RST:
            self._network.counters.refused += 1
            self._refuse(packet, segment)

    def _deliver_too_big(self, body: bytes) -> None:
        """A router says that a packet did not fit; it quotes the beginning of that packet."""
        quoted, version = body[8:], 4 if len(self.packed) == 4 else 6
        length = (quoted[0] & 0x0F) * 4 if version == 4 and quoted else 40
        mtu = int.from_bytes(body[6:8] if version == 4 else body[4:8], "big")
        if len(quoted) < length + 8 or quoted[9 if version == 4 else 6] != TCP:
            return
        source_port, port, seq = _PORTS_AND_SEQ.unpack_from(quoted, length)
        with self._lock:
            remote = quoted[16:20] if version == 4 else quoted[24:40]
            connection = self._connections.get((source_port, remote, port))
        if connection is not None:
            connection.path_is_narrower(mtu - length - 20, seq)

    def _deliver_udp(self, packet: IpPacket) -> None:
        source_port, port = packet.ports
        with self._lock:
            wanted = self._sockets.get(port)
        if wanted is not None:
            wanted.deliver(packet.source, source_port, packet.payload)
            return
        self._network.counters.refused += 1
        # Port unreachable, with the beginning of what could not be delivered.
        kind, code = (3, 3) if len(self.packed) == 4 else (1, 4)
        rest = bytes(4) + self._network.frame_in_hand[14 : 14 + 20 + 28]
        body = icmp_body(self.packed, packet.source, kind, code, rest)
        self._network.emit(self.packed, packet.source, icmp_protocol(self.packed), body)

    def _refuse(self, packet: IpPacket, segment: TcpSegment) -> None:
        ports = (segment.destination_port, segment.source_port)
        if segment.flags & ACK:
            seq, ack, flags = segment.ack, 0, RST
        else:
            length = len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
            seq, ack, flags = 0, segment.seq + length, RST | ACK
        body = tcp_body(self.packed, packet.source, ports, seq, ack, flags, 0)
        self._network.emit(self.packed, packet.source, TCP, body)

    def _connection(self, local: Endpoint, remote: Endpoint, listener: TcpListener | None) -> TcpConnection:
        def changed() -> None:
            if listener is not None and connection.state is State.ESTABLISHED:
                listener.accepted(connection)

        key = (local.port, remote.packed, remote.port)
        known = self._connections.get(key)
        if known is not None and known.state is not State.CLOSED:
            raise UsageError(f"A connection {local} - {remote} exists already.", hint="Choose another source port.")
        connection = TcpConnection(
            self._network.emit,
            self._network.timers,
            local,
            remote,
            changed=changed,
            echo=listener is not None and listener.echo,
        )
        self._connections[key] = connection
        return connection

    def _free_port(self, remote: Endpoint) -> int:
        while True:
            self._next_port = self._next_port + 1 if self._next_port < 65535 else _FIRST_EPHEMERAL
            if (self._next_port, remote.packed, remote.port) not in self._connections:
                return self._next_port
