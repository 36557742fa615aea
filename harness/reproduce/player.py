"""Plays the other side of a capture: sends its packets in order, each when the guest has done what came before it.

One judge decides that something will not come: this side. The guest's script waits for as long as it takes and is
told which of its channels to give up, so that a packet that a driver swallowed costs its patience once, and no more.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from harness.capture import Packet
from harness.link import Link
from harness.link.headers import ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, SYN, TCP, UDP, IpPacket, parse_tcp
from harness.link.router import cut, packet_size
from harness.reproduce.addresses import AddressMap
from harness.reproduce.departures import Departures
from harness.reproduce.guest_side import GuestResult, GuestSide
from harness.reproduce.plan import Action, DatagramPlan, Deed, Plan, TcpPlan
from harness.reproduce.rewriting import readdressed, requoted
from harness.reproduce.tcp_peer import TcpPeer
from harness.traffic import Stations
from harness.traffic.assemble import ethernet
from harness.waiting import Deadline

_PATIENCE = 5.0
_LEAST_PATIENCE = 0.5
_AGAIN = (0.3, 0.6)  # parts of the patience after which data that were not acknowledged are sent again
_TICK = 0.04
_ACK_AFTER = 0.2  # seconds that the guest may wait for an acknowledgement that the capture has later
_ECHO_TYPES = {ICMP: (0, 8), ICMPV6: (128, 129)}
_END_SECONDS = 60.0
_SIGN_OF_LIFE = 5.0
_CHECK_EVERY = 0.3  # seconds of waiting between looks at whether the guest is still there
_NOT_REACHED = "What came before it did not reach the guest's application"
_MOST_DATAGRAMS = 100_000  # of one conversation: they come from a guest

Key = tuple[int, int, bytes, int]
"""Protocol, the guest's port, the other side's address and port."""


class Timing(StrEnum):
    """When packets are sent: as fast as the conversations allow, or not before their time in the capture."""

    FAST = "fast"
    CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class Figures:
    """How much was replayed: packets sent, of the guest waited for and seen, conversations and those given up."""

    sent: int
    seen: int
    conversations: int
    given_up: int
    seconds: float


class Player:
    """One replay of a plan."""

    def __init__(
        self,
        plan: Plan,
        *,
        link: Link,
        stations: Stations,
        guest: GuestSide,
        addresses: AddressMap,
        departures: Departures,
        timing: Timing = Timing.FAST,
        patience: float = _PATIENCE,
        mtu: int = 1500,
        progress: Callable[[int, int], None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._plan, self._link, self._stations, self._guest = plan, link, stations, guest
        self._addresses, self._departures, self._timing = addresses, departures, timing
        self._patience, self._mtu, self._progress, self._check = patience, mtu, progress, check
        self._changed = threading.Condition()  # guards what the link's thread writes: the next three, and all peers
        self._peers: dict[Key, TcpPeer] = {}
        self._datagrams: defaultdict[Key, list[bytes]] = defaultdict(list)
        self._awaited: TcpPlan | None = None
        self._live: dict[int, TcpPeer] = {}
        self._known = {
            (of.protocol, of.guest[1], *of.peer) for of in plan.conversations if isinstance(of, DatagramPlan)
        }
        self._silent: set[Key] = set()
        self._seen: defaultdict[Key, int] = defaultdict(int)
        self._given_up: set[int] = set()
        self._macs: dict[bytes, bytes] = {}
        self._sent = self._met = self._strikes = 0
        self._started = 0.0

    def run(self) -> Figures:
        """Play it to its end.

        Raises LinkError, TransportError, ProbeError, and what `check` finds while it waits; a guest that does otherwise
        than the capture is a departure.
        """
        for trouble in self._guest.load(self._plan.script.encode()):
            self._departures.tell(f"The guest could not prepare its side: {trouble.text}")
        for of in self._plan.conversations:  # the guest may be quicker than we are with what it begins
            if isinstance(of, TcpPlan) and (TCP, of.guest[1], *of.peer) not in self._peers:
                self._peer(of)
        with self._stations.playing(self._plan.hosts, self._receive) as self._macs:
            self._guest.start(keep_time=self._timing is Timing.CAPTURE)
            self._started = time.monotonic()
            for done, action in enumerate(self._plan.actions):
                self._keep_time(action)
                self._do(action)
                if self._progress is not None and done % 100 == 0:
                    self._progress(done, len(self._plan.actions))
            result = self._finish()
        seconds = time.monotonic() - self._started
        self._compare(result)
        return Figures(self._sent, self._met, len(self._plan.conversations), len(self._given_up), seconds)

    def _keep_time(self, action: Action) -> None:
        if self._timing is not Timing.CAPTURE:
            return
        due = self._started + (action.time - self._plan.first_time) / 1e9
        while (left := due - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait(min(left, _SIGN_OF_LIFE))
            if left > _SIGN_OF_LIFE:
                self._guest.standing()  # so that a pause is no silence for who watches

    def _do(self, action: Action) -> None:
        of = action.of
        if isinstance(of, TcpPlan):
            if of.channel in self._given_up:
                return
            peer = self._peer(of)
            if action.deed is Deed.SEND:
                self._send_move(action, of, peer)
            elif action.deed is Deed.AWAIT:
                self._await_move(action, of, peer)
            else:
                self._guest.release(action.hold)
        elif action.deed is Deed.SEND and action.packet is not None:
            self._send_packet(action.packet, of)
        elif action.packet is not None:
            self._await_datagram(action.packet, of)

    def _peer(self, of: TcpPlan) -> TcpPeer:
        peer = self._live.get(of.channel)
        if peer is None:
            peer = self._live[of.channel] = TcpPeer(of.talk, of.guest, of.peer, self._mtu)
            with self._changed:
                self._peers[TCP, of.guest[1], *of.peer] = peer
        return peer

    def _send_move(self, action: Action, of: TcpPlan, peer: TcpPeer) -> None:
        move = action.move
        if move is None:
            return
        if not self._wait(lambda: peer.fits(move) or peer.guest_reset, of, peer):
            self._give_up(of, action.number, "The guest's window has no room for it")
            return
        with self._changed:
            packets = peer.segments(move)
        if len(packets) > 1:
            self._departures.tell("It is more than the guest's MSS: segmented again.", action.number)
        for packet in packets:
            self._emit(packet, of.peer[0])

    def _await_move(self, action: Action, of: TcpPlan, peer: TcpPeer) -> None:
        move = action.move
        if move is None:
            return
        self._awaited = of
        if self._wait(lambda: peer.is_reached(move) or peer.guest_reset, of, peer):
            if peer.is_reached(move):
                self._met += 1
                return
            self._give_up(of, action.number, "The guest reset the connection instead")
            return
        self._give_up(of, action.number, f"The guest did not {_what(move.flags, move.payload)}")

    def _await_datagram(self, packet: Packet, of: DatagramPlan) -> None:
        key = (of.protocol, of.guest[1], *of.peer)
        wanted = self._seen[key] + 1
        if key in self._silent:
            self._departures.tell(
                "The guest's datagram was not waited for, as an earlier one did not come.", packet.number
            )
            return
        if self._wait(lambda: len(self._datagrams[key]) >= wanted, of, None):
            self._met += 1
            self._seen[key] = wanted
            ip = packet.ip
            is_whole = of.protocol == UDP and ip is not None and not packet.is_cut
            if is_whole and ip is not None and self._datagrams[key][wanted - 1] != ip.payload:
                self._departures.tell("The guest's datagram has other bytes than the capture's.", packet.number)
            return
        self._silent.add(key)
        self._departures.tell("The guest's datagram did not come.", packet.number)
        self._give_up(of, None, "")

    def _wait(self, is_reached: Callable[[], bool], of: TcpPlan | DatagramPlan, peer: TcpPeer | None) -> bool:
        """Wait for the guest; acknowledges and sends again meanwhile what a host would. False: it will not come."""
        begun, repeated = time.monotonic(), 0
        patience, checked = self._patience_now(), 0.0
        while True:
            if self._check is not None and time.monotonic() - begun > checked + _CHECK_EVERY:
                checked = time.monotonic() - begun
                self._check()
            with self._changed:
                waited = time.monotonic() - begun
                if is_reached():
                    self._strikes = 0 if waited < _LEAST_PATIENCE / 2 else self._strikes
                    return True
                packets = self._owed(peer, waited)
                if peer is not None and repeated < len(_AGAIN) and waited > patience * _AGAIN[repeated]:
                    repeated += 1
                    packets += [packet for _, each in peer.unacked for packet in each]
                if not packets and waited < patience:
                    self._changed.wait(_TICK)
            if not packets and waited < patience:
                continue
            for packet in packets:
                self._emit(packet, of.peer[0])
            if waited < patience:
                continue
            if of.channel is not None and of.channel in self._given_up:
                return False
            self._strikes += 1
            if not self._blame_another(of):
                return False
            begun, repeated, checked = time.monotonic(), 0, 0.0

    def _patience_now(self) -> float:
        """What is left of the patience: half of it for each time that it was for nothing, up to a least."""
        return max(self._patience * 0.5**self._strikes, min(_LEAST_PATIENCE, self._patience))

    def _owed(self, peer: TcpPeer | None, waited: float) -> list[bytes]:
        """Acknowledgements that a guest which may send no more has to have, though the capture has them later."""
        if peer is None or peer.guest_initial is None or peer.guest_reset or not peer.talk.moves:
            return []
        outstanding = peer.guest_next - max(peer.acked_guest, 1)
        if peer.acked_guest and outstanding > 0 and (outstanding > 2 * 1460 or waited > _ACK_AFTER):
            return [peer.acknowledgement()]
        return []

    def _blame_another(self, of: TcpPlan | DatagramPlan) -> bool:
        """Whether the guest's script stands at another conversation than the one waited for: that one is given up."""
        standing = self._guest.standing()
        if standing.channel is None or standing.channel == of.channel or standing.channel in self._given_up:
            return False
        for other in self._plan.conversations:
            if other.channel == standing.channel:
                self._give_up(other, standing.number, _NOT_REACHED)
                return True
        self._guest.skip(standing.channel)
        self._given_up.add(standing.channel)
        return True

    def _give_up(self, of: TcpPlan | DatagramPlan, number: int | None, why: str) -> None:
        """Replay no more of a conversation; the guest's side of it is told to wait no longer."""
        if of.channel is None or of.channel in self._given_up:
            return
        self._given_up.add(of.channel)
        if why:
            self._departures.tell(f"{why}: the rest of {of.name} is left out.", number)
        if isinstance(of, TcpPlan):
            peer = self._live.get(of.channel)
            if peer is not None and peer.guest_initial is not None and not peer.guest_reset:
                self._emit(peer.reset(), of.peer[0])
        self._guest.skip(of.channel)

    def _finish(self) -> GuestResult:
        """Wait for the guest's script to end; what it still waits for when nothing moves is given up."""
        deadline = Deadline(_END_SECONDS + self._patience * 4)
        while not deadline.expired:
            if self._check is not None:
                self._check()
            standing = self._guest.standing()
            if standing.is_done:
                break
            before, begun = standing, time.monotonic()
            patience = self._patience_now()
            while (standing := self._guest.standing()) == before and time.monotonic() - begun < patience:
                with self._changed:
                    self._changed.wait(_TICK)
            if standing == before and standing.channel is not None:
                self._strikes += 1
                other = next((each for each in self._plan.conversations if each.channel == standing.channel), None)
                if other is None or other.channel in self._given_up:
                    self._guest.skip(standing.channel)
                else:
                    self._give_up(
                        other, standing.number, "What the other side sent did not reach the guest's application"
                    )
        return self._guest.result(deadline)

    def _compare(self, result: GuestResult) -> None:
        """Hold what the guest's applications got, and what it sent, against the capture."""
        for trouble in result.troubles:
            if trouble.channel not in self._given_up:
                self._departures.tell(f"The guest's application: {trouble.text}", trouble.number or None)
        for of in self._plan.conversations:
            if not isinstance(of, TcpPlan) or of.channel in self._given_up:
                continue
            peer = self._live.get(of.channel)
            if peer is not None and peer.mismatch is not None:
                self._departures.tell(f"The guest sent other bytes than the capture has in {of.name}.", of.number)
            if peer is not None and peer.extra_acks:
                self._departures.tell("More acknowledgements were sent than the capture has.", of.number)
            count, crc = result.received.get(of.channel, (0, 0))
            if of.ends_early or not of.bytes_due:
                continue
            if count != of.bytes_due:
                text = f"The guest's application got {count} bytes of {of.bytes_due} in {of.name}."
                self._departures.tell(text, of.number)
            elif crc != zlib.crc32(of.talk.peer_stream[: of.bytes_due]):
                self._departures.tell(f"The guest's application got other bytes in {of.name}.", of.number)

    def _send_packet(self, packet: Packet, of: DatagramPlan) -> None:
        destination = packet.ip.destination if packet.ip is not None else b""
        to = self._addresses.to_link(destination)
        made = readdressed(packet, of.peer[0], to)
        if of.protocol in (ICMP, ICMPV6):
            made = requoted(made, of.protocol, self._addresses.to_link, self._live_sequence)
        self._emit(made, of.peer[0], number=packet.number)

    def _live_sequence(self, ports: tuple[int, int], peer_address: bytes, seq: int) -> int:
        """The number that a segment of the guest has here, for one that it had in the capture."""
        peer = self._peers.get((TCP, ports[0], peer_address, ports[1]))
        if peer is None or peer.guest_initial is None:
            return seq
        return (seq - peer.talk.guest_initial + peer.guest_initial) & 0xFFFFFFFF

    def _emit(self, packet: bytes, source: bytes, *, number: int | None = None) -> None:
        """Put an IP packet onto the link as a frame of its host; one above the MTU is cut into fragments."""
        kind, at, length = (ETH_IPV4, 16, 4) if packet[0] >> 4 == 4 else (ETH_IPV6, 24, 16)
        frame = ethernet(self._mac_for(packet[at : at + length]), self._mac_of(source), kind, packet)
        frames = [frame]
        if packet_size(frame) > self._mtu:
            if kind == ETH_IPV6:
                self._departures.tell("It is larger than the link takes, and left out.", number)
                return
            self._departures.tell("It is larger than the link takes: sent in fragments.", number)
            frames = cut(frame, self._mtu)
        self._link.send_all(frames, Deadline(_END_SECONDS))
        self._sent += len(frames)

    def _mac_of(self, source: bytes) -> bytes:
        return self._macs.get(source, self._stations.gateway.mac)

    def _mac_for(self, destination: bytes) -> bytes:
        """The guest's, or that of a group (RFC 1112, RFC 2464)."""
        if len(destination) == 4 and destination[0] >> 4 == 14:
            return b"\x01\x00\x5e" + bytes((destination[1] & 0x7F,)) + destination[2:]
        if len(destination) == 16 and destination[0] == 0xFF:
            return b"\x33\x33" + destination[12:]
        return b"\xff" * 6 if destination == b"\xff" * 4 else self._stations.guest_mac

    def _receive(self, packet: IpPacket) -> None:
        """A packet of the guest, on the link's thread."""
        with self._changed:
            if packet.protocol == TCP:
                self._receive_tcp(packet)
            else:
                source, destination = packet.ports
                if packet.protocol in _ECHO_TYPES and len(packet.body) >= 6:
                    if packet.body[0] not in _ECHO_TYPES[packet.protocol]:
                        return
                    source = destination = int.from_bytes(packet.body[4:6], "big")
                key = (packet.protocol, source, packet.destination, destination)
                if key in self._known and len(self._datagrams[key]) < _MOST_DATAGRAMS:
                    self._datagrams[key].append(packet.payload)
            self._changed.notify_all()

    def _receive_tcp(self, packet: IpPacket) -> None:
        tcp = parse_tcp(packet)
        if tcp is None:
            return
        key = (TCP, tcp.source_port, packet.destination, tcp.destination_port)
        peer, of = self._peers.get(key), self._awaited
        if (
            peer is None
            and of is not None
            and tcp.flags & SYN
            and of.peer == (packet.destination, tcp.destination_port)
        ):
            # The guest took another port than in the capture, or its driver gave it one.
            peer = self._live.get(of.channel)
            if peer is None or peer.guest_initial is not None:
                return
            peer.guest = (peer.guest[0], tcp.source_port)
            self._peers[key] = peer
            self._departures.tell("The guest's end has another port than in the capture.", of.number)
        if peer is not None:
            peer.take(tcp)


def _what(flags: int, payload: bytes) -> str:
    if flags & SYN:
        return "answer the handshake" if flags & 0x10 else "open the connection"
    if payload:
        return "send the data of this packet"
    return "reset the connection" if flags & 4 else "close the connection"
