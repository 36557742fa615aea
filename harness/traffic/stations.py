"""The hosts that the harness plays on a link: a gateway, and stations beside and behind it.

They answer ARP, neighbour solicitations and echo requests, hold TCP and UDP conversations, and refuse what no
port listens for, as real hosts do. Every checksum from the guest is verified; what fails is dropped and kept.
"""

from __future__ import annotations

import ipaddress
import secrets
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from harness.errors import UsageError
from harness.link import Direction, Link
from harness.link.headers import (
    ACK,
    ETH_ARP,
    FIN,
    ICMP,
    ICMPV6,
    RST,
    SYN,
    TCP,
    UDP,
    IpPacket,
    TcpSegment,
    address_text,
    ether_type,
    parse_ip,
    parse_tcp,
)
from harness.traffic.address import Endpoint, pack_address, pack_mac
from harness.traffic.assemble import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    arp_frame,
    icmp_body,
    icmp_protocol,
    ip_frame,
    parse_arp,
    tcp_body,
)
from harness.traffic.tcp import TcpConnection, TcpListener
from harness.traffic.tcp_protocol import State
from harness.traffic.timers import Timers
from harness.traffic.udp import UdpSocket
from harness.waiting import Deadline

_ECHO = {4: (8, 0), 16: (128, 129)}  # request and reply, by length of the address
_SOLICITATION, _ADVERTISEMENT = 135, 136
_FIRST_EPHEMERAL = 49152


@dataclass(slots=True, kw_only=True)
class TrafficCounters:
    """What the stations saw of the guest: `unanswered` packets were for addresses that no station has."""

    packets: int = 0
    bad_packets: int = 0
    unanswered: int = 0
    refused: int = 0


class Station:
    """One host on the link or behind its gateway; made by `Stations.add`."""

    def __init__(self, network: Stations, address: bytes, mac: bytes) -> None:
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
        elif packet.protocol == icmp_protocol(self.packed) and packet.body[0] == _ECHO[len(self.packed)][0]:
            reply = icmp_body(self.packed, packet.source, _ECHO[len(self.packed)][1], 0, packet.body[4:])
            self._network.emit(self.packed, packet.source, packet.protocol, reply)

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


class Stations:
    """All hosts on one link but the guest."""

    def __init__(
        self,
        link: Link,
        *,
        guest_mac: str = "52:54:00:77:66:10",
        guest_ip: str = "192.0.2.2",
        gateway: str = "192.0.2.1",
        guest_ip6: str = "2001:db8::2",
        gateway6: str = "2001:db8::1",
        prefix: int = 24,
        prefix6: int = 64,
    ) -> None:
        self._link = link
        self.guest_mac, self.guest_ip, self.guest_ip6 = pack_mac(guest_mac), guest_ip, guest_ip6
        self.counters = TrafficCounters()
        self.bad_packets: list[str] = []  # what was wrong with the first hundred
        self.timers = Timers()
        self.frame_in_hand = b""
        self._networks = (
            ipaddress.ip_network(f"{gateway}/{prefix}", strict=False),
            ipaddress.ip_network(f"{gateway6}/{prefix6}", strict=False),
        )
        self._stations: dict[bytes, Station] = {}
        self._echoes: dict[bytes, tuple[threading.Event, float]] = {}
        self._arps: dict[bytes, threading.Event] = {}
        self.gateway = self.add(gateway)
        self.gateway6 = self.add(gateway6, mac=self.gateway.mac)
        self._unsubscribe = link.subscribe(self._receive, Direction.FROM_GUEST)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, address: str, *, mac: bytes | None = None) -> Station:
        """The station with this address, made if there is none yet.

        One inside the gateway's network answers ARP with a MAC of its own; any other is reached through the gateway.
        """
        packed = pack_address(address)
        station = self._stations.get(packed)
        if station is None:
            if mac is None:
                local = any(ipaddress.ip_address(packed) in network for network in self._networks)
                # Locally administered, from the last bytes of the address.
                mac = b"\x02\x00" + packed[-4:] if local else self.gateway.mac
            station = self._stations[packed] = Station(self, packed, mac)
        return station

    def ping(self, deadline: Deadline, *, source: Station | None = None) -> float:
        """One echo request to the guest and its reply; returns the seconds it took.

        As frames keep their order, everything that was sent to the guest before has reached its network stack
        when this returns. Sent once: a link that loses it is broken, and the deadline says so.
        """
        station = source or self.gateway
        target = pack_address(self.guest_ip if len(station.packed) == 4 else self.guest_ip6)
        token = secrets.token_bytes(28)  # identifier, sequence number and payload
        arrived = threading.Event()
        started = time.monotonic()
        self._echoes[token] = (arrived, started)
        body = icmp_body(station.packed, target, _ECHO[len(target)][0], 0, token)
        self.emit(station.packed, target, icmp_protocol(target), body)
        try:
            if not arrived.wait(deadline.remaining()):
                raise deadline.expire(f"the guest to answer a ping from {station.address}")
            return time.monotonic() - started
        finally:
            del self._echoes[token]

    def arp_ping(self, deadline: Deadline) -> float:
        """One ARP request for the guest's address and its answer: needs no IP, so no callout can be in its way."""
        target, arrived, started = pack_address(self.guest_ip), threading.Event(), time.monotonic()
        self._arps[target] = arrived
        gateway = self.gateway
        self._link.post(arp_frame(ARP_REQUEST, gateway.mac, gateway.packed, bytes(6), target, to=BROADCAST))
        if not arrived.wait(deadline.remaining()):
            raise deadline.expire(f"the guest to answer an ARP request for {self.guest_ip}")
        return time.monotonic() - started

    def reset(self) -> None:
        """Have every station forget its conversations and ports without a frame: what precedes a revert."""
        for station in tuple(self._stations.values()):
            station.reset()
        self.counters = TrafficCounters()
        self.bad_packets.clear()

    def close(self) -> None:
        """Leave the link; conversations end without a frame."""
        self._unsubscribe()
        self.reset()
        self.timers.close()

    def emit(self, source: bytes, destination: bytes, protocol: int, body: bytes) -> None:
        """Send a packet of a station to the guest; never waits."""
        self._link.post(ip_frame(self.guest_mac, self._stations[source].mac, source, destination, protocol, body))

    def _receive(self, direction: Direction, frame: bytes, received: float) -> None:
        del direction, received
        if ether_type(frame) == ETH_ARP:
            self._receive_arp(frame)
            return
        packet = parse_ip(frame)
        if packet is None:
            return
        self.counters.packets += 1
        if packet.trouble is not None:
            self.counters.bad_packets += 1
            if len(self.bad_packets) < 100:
                where = f"{address_text(packet.source)} to {address_text(packet.destination)}"
                self.bad_packets.append(f"{packet.trouble} (packet {self.counters.packets}, {where}).")
            return
        if packet.protocol in (ICMP, ICMPV6) and len(packet.body) >= 8 and self._receive_icmp(packet):
            return
        station = self._stations.get(packet.destination)
        if station is None:
            self.counters.unanswered += 1
        elif len(packet.body) >= 8:
            self.frame_in_hand = frame
            station.deliver(packet)

    def _receive_icmp(self, packet: IpPacket) -> bool:
        if packet.body[0] == _ECHO[len(packet.source)][1] and (echo := self._echoes.get(packet.body[4:])):
            echo[0].set()
            return True
        if packet.protocol == ICMPV6 and packet.body[0] == _SOLICITATION and len(packet.body) >= 24:
            target = packet.body[8:24]
            station = self._stations.get(target)
            if station is not None and any(packet.source):
                # Solicited and override, with the option that carries the MAC.
                rest = b"\x60\0\0\0" + target + b"\x02\x01" + station.mac
                self.emit(target, packet.source, ICMPV6, icmp_body(target, packet.source, _ADVERTISEMENT, 0, rest))
            return True
        return False

    def _receive_arp(self, frame: bytes) -> None:
        arp = parse_arp(frame)
        if arp is None:
            return
        operation, sender_mac, sender, target = arp
        if operation == ARP_REPLY and sender in self._arps:
            self._arps.pop(sender).set()
        station = self._stations.get(target)
        if operation == ARP_REQUEST and station is not None and sender != target:
            self._link.post(arp_frame(ARP_REPLY, station.mac, target, sender_mac, sender, to=sender_mac))
