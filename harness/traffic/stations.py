"""The hosts that the harness plays on a link: a gateway, and stations beside and behind it.

They answer ARP, neighbour solicitations and echo requests, hold TCP and UDP conversations, and refuse what no
port listens for, as real hosts do. Every checksum from the guest is verified; what fails is dropped and kept.
"""

from __future__ import annotations

import ipaddress
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from harness.config import NetworkSettings
from harness.link import Direction, Link
from harness.link.headers import ETH_ARP, ICMP, ICMPV6, IpPacket, address_text, ether_type, parse_ip
from harness.traffic.address import pack_address, pack_mac
from harness.traffic.assemble import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    ECHO,
    arp_frame,
    icmp_body,
    icmp_protocol,
    ip_frame,
    parse_arp,
)
from harness.traffic.played import PlayedHost, Receiver
from harness.traffic.reassembly import Reassembly
from harness.traffic.station import Station, TrafficCounters
from harness.traffic.timers import Timers
from harness.waiting import Deadline

_SOLICITATION, _ADVERTISEMENT = 135, 136
# The guest's IPv6 network, where its profile names none.
GUEST_IP6, GATEWAY_IP6, PREFIX_IP6 = "2001:db8::2", "2001:db8::1", 64


class Stations:
    """All hosts on one link but the guest."""

    def __init__(
        self,
        link: Link,
        *,
        guest_mac: str = "52:54:00:77:66:10",
        guest_ip: str = "192.0.2.2",
        gateway: str = "192.0.2.1",
        guest_ip6: str = GUEST_IP6,
        gateway6: str = GATEWAY_IP6,
        prefix: int = 24,
        prefix6: int = PREFIX_IP6,
    ) -> None:
        self._link = link
        self.guest_mac, self.guest_ip, self.guest_ip6 = pack_mac(guest_mac), guest_ip, guest_ip6
        self.counters = TrafficCounters()
        self.bad_packets: list[str] = []  # what was wrong with the first hundred
        self.timers = Timers()
        self.frame_in_hand = b""
        self._fragments = Reassembly()
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

    @classmethod
    def beside(cls, network: NetworkSettings, link: Link, *, guest_mac: str) -> Self:
        """The hosts beside a guest whose profile says which addresses it and its gateways have."""
        return cls(
            link,
            guest_mac=guest_mac,
            guest_ip=str(network.ipv4.ip),
            gateway=str(network.ipv4_gateway),
            prefix=network.ipv4.network.prefixlen,
            guest_ip6=str(network.ipv6.ip) if network.ipv6 else GUEST_IP6,
            gateway6=str(network.ipv6_gateway or GATEWAY_IP6),
            prefix6=network.ipv6.network.prefixlen if network.ipv6 else PREFIX_IP6,
        )

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

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The link's own networks: hosts of others are behind the gateway."""
        return self._networks

    @contextmanager
    def playing(self, addresses: Iterable[bytes], receive: Receiver) -> Iterator[dict[bytes, bytes]]:
        """A block in which `receive` plays the hosts with these packed addresses; gives the MAC of each.

        Nobody else does meanwhile: a station of that address is put back behind the block.
        """
        played = {}
        for packed in addresses:
            mac = self.add(address_text(packed)).mac
            played[packed] = PlayedHost(self, packed, mac, receive)
        before = {packed: self._stations[packed] for packed in played}
        self._stations.update(played)
        try:
            yield {packed: host.mac for packed, host in played.items()}
        finally:
            self._stations.update(before)

    def ping(self, deadline: Deadline, *, source: Station | None = None) -> float:
        """One echo request to the guest and its reply; returns the seconds it took.

        As frames keep their order, everything that was sent to the guest before has reached its network stack
        when this returns. Sent once: an impaired wire lets it and its answer pass behind all that it held back, and a
        link that loses it is broken, as the deadline says.
        """
        station = source or self.gateway
        target = pack_address(self.guest_ip if len(station.packed) == 4 else self.guest_ip6)
        token = secrets.token_bytes(28)  # identifier, sequence number and payload
        arrived = threading.Event()
        started = time.monotonic()
        self._echoes[token] = (arrived, started)
        body = icmp_body(station.packed, target, ECHO[len(target)][0], 0, token)
        try:
            with self._link.let_pass(token):
                self.emit(station.packed, target, icmp_protocol(target), body)
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
        question = arp_frame(ARP_REQUEST, gateway.mac, gateway.packed, bytes(6), target, to=BROADCAST)
        answer = arp_frame(ARP_REPLY, self.guest_mac, target, gateway.mac, gateway.packed, to=gateway.mac)
        with self._link.let_pass(question), self._link.let_pass(answer):
            self._link.post(question)
            if not arrived.wait(deadline.remaining()):
                raise deadline.expire(f"the guest to answer an ARP request for {self.guest_ip}")
        return time.monotonic() - started

    def reset(self) -> None:
        """Have every station forget its conversations and ports without a frame: what precedes a revert."""
        for station in tuple(self._stations.values()):
            station.reset()
        self.counters = TrafficCounters()
        self.bad_packets.clear()
        self._fragments.clear()

    def close(self) -> None:
        """Leave the link; conversations end without a frame."""
        self._unsubscribe()
        self.reset()
        self.timers.close()

    def emit(self, source: bytes, destination: bytes, protocol: int, body: bytes) -> None:
        """Send a packet of a station to the guest; never waits."""
        self._link.post(ip_frame(self.guest_mac, self._stations[source].mac, source, destination, protocol, body))

    def _receive(self, direction: Direction, frame: bytes, received: float) -> None:
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
        if packet.fragment and len(packet.source) == 4:
            whole = self._fragments.put(frame)
            if whole is not None:
                self._receive(direction, whole, received)
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
        if packet.body[0] == ECHO[len(packet.source)][1] and (echo := self._echoes.get(packet.body[4:])):
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
