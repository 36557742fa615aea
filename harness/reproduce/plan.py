"""A capture as what both ends do: actions of the harness in the order of the capture, and the guest's script.

The order is kept across conversations: a packet of the other side is sent when all that the guest sent before it in
the capture has been seen, and the guest's applications take a step when they have got all that came before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from harness.capture import Capture, Conversation, Packet
from harness.link.headers import ACK, FIN, ICMP, ICMPV6, RST, SYN, TCP, UDP
from harness.reproduce.addresses import AddressMap
from harness.reproduce.departures import Departures
from harness.reproduce.hosts import is_host
from harness.reproduce.script import Script, endpoint
from harness.reproduce.talk import Move, TcpTalk, talk_of

_IGMP = 2
_LEAST_MSS = 536
_ONE_WRITE = 5_000_000  # nanoseconds between segments of one write
_LINK_UPKEEP = frozenset({130, 131, 132, 133, 134, 135, 136, 137, 143})  # ICMPv6: MLD, neighbours, routers
_ECHO_REPLY = {ICMP: 0, ICMPV6: 129}
_UNREACHABLE = {(ICMP, 3, 3), (ICMPV6, 1, 4)}
_QUOTED_PORTS = {ICMP: (8, 20), ICMPV6: (8, 40)}


@dataclass(slots=True, eq=False)
class TcpPlan:
    """A TCP connection to be replayed: its ends on the link, its channel in the script."""

    name: str
    talk: TcpTalk
    guest: tuple[bytes, int]
    peer: tuple[bytes, int]
    channel: int
    number: int
    bytes_due: int = 0  # that the guest's application should have got in the end, of the peer's
    ends_early: bool = False  # by a RST, so that less may have been read


@dataclass(slots=True, eq=False)
class DatagramPlan:
    """A conversation of anything but TCP; `replies` is what is waited for of the guest: 'udp', 'echo' or nothing."""

    name: str
    protocol: int
    guest: tuple[bytes, int]
    peer: tuple[bytes, int]
    channel: int | None
    number: int


class Deed(StrEnum):
    """What the harness does next."""

    SEND = "send"
    AWAIT = "await"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, in order: send a packet of the other side, wait for one of the guest, or let it take a step."""

    deed: Deed
    number: int
    time: int
    of: TcpPlan | DatagramPlan
    move: Move | None = None
    packet: Packet | None = None
    hold: int = 0  # what is released


@dataclass(slots=True)
class Plan:
    """Everything that a replay does."""

    actions: list[Action]
    script: Script
    conversations: list[TcpPlan | DatagramPlan]
    hosts: frozenset[bytes]  # addresses on the link that the harness plays
    first_time: int


@dataclass(slots=True)
class _Due:
    """What the guest's application has to have seen of a conversation before it goes on."""

    accept: tuple[int, str] | None = None
    opened: bool = False
    answered: bool = False  # the other side has ended the handshake
    got: int = 0
    eof: bool = False
    eof_due: bool = False
    ended: bool = False
    heard: int = 0
    changed: bool = False
    closed: bool = False
    told_got: int = 0
    told_heard: int = 0
    guest_sent: int = 0
    guest_fin: bool = False
    sent_at: int = 0
    full: bool = False  # whether the last segment of the guest was as long as any
    spans: list[tuple[int, int]] = field(default_factory=list)


def make_plan(capture: Capture, addresses: AddressMap, departures: Departures) -> Plan:
    """The plan for a capture."""
    return _Planning(capture, addresses, departures).plan()


class _Planning:
    def __init__(self, capture: Capture, addresses: AddressMap, departures: Departures) -> None:
        self._capture, self._addresses, self._departures = capture, addresses, departures
        self._script = Script()
        self._begin = min((packet.time for packet in capture.packets), default=0)
        self._listeners: dict[tuple[bytes, int], int] = {}
        self._sockets: dict[tuple[bytes, int], int] = {}
        self._due: dict[int, _Due] = {}
        self._waiting: dict[int, None] = {}  # channels with something due, oldest first
        self._conversations: list[TcpPlan | DatagramPlan] = []
        self._actions: list[Action] = []
        self._last: dict[int, int] = {}

    def plan(self) -> Plan:
        moves: list[tuple[int, int, TcpPlan | DatagramPlan, Move | Packet]] = []
        closed = self._closed_ports()
        for conversation in self._capture.conversations():
            planned = self._conversation(conversation, closed)
            if planned is None:
                continue
            self._conversations.append(planned)
            steps: Sequence[Move | Packet] = conversation.packets
            if isinstance(planned, TcpPlan):
                steps = planned.talk.moves
            # By the packet's place in the file; what was made up goes just before the packet that needs it.
            moves += [(step.number, index, planned, step) for index, step in enumerate(steps)]
        places = {packet.number: place for place, packet in enumerate(self._capture.packets)}
        moves.sort(key=lambda each: (places[each[0]], each[1]))
        for _, _, planned, step in moves:
            if isinstance(planned, TcpPlan) and isinstance(step, Move):
                self._tcp(planned, step)
            elif isinstance(planned, DatagramPlan) and isinstance(step, Packet):
                self._datagram(planned, step)
        self._flush(moves[-1][0] if moves else 0)
        for planned in self._conversations:
            if isinstance(planned, TcpPlan) and planned.channel in self._due:
                planned.bytes_due = self._due[planned.channel].got
        hosts = frozenset(planned.peer[0] for planned in self._conversations if is_host(planned.peer[0]))
        return Plan(self._actions, self._script, self._conversations, hosts, self._begin)

    def _conversation(
        self, conversation: Conversation, closed: set[tuple[bytes, int]]
    ) -> TcpPlan | DatagramPlan | None:
        """Who of its ends is who; None where it cannot be replayed, which is told."""
        ends = (conversation.first, conversation.second)
        guests = [self._addresses.is_guest(address) for address, _ in ends]
        number = conversation.packets[0].number
        if all(guests) or not any(guests):
            if self._is_for_all(conversation):
                guests = [False, True]
            else:
                whose = "The guest talks with itself" if all(guests) else "It is between other hosts"
                self._leave_out(conversation, f"{whose}, so that it is left out.")
                return None
        guest, peer = ends if guests[0] else ends[::-1]
        if guests[0] and not is_host(peer[0]):
            self._leave_out(conversation, "The guest's own multicast and broadcast is left out: its system makes it.")
            return None
        if self._is_upkeep(conversation):
            self._leave_out(conversation, "Upkeep of the link (neighbours, routers, groups) is left out.")
            return None
        on_link = (self._addresses.to_link(guest[0]), guest[1])
        other = (self._addresses.to_link(peer[0]), peer[1])
        if conversation.protocol == TCP:
            return self._tcp_conversation(conversation, on_link, other)
        channel = None
        has_port = conversation.protocol == UDP and guest[1] and is_host(guest[0])
        if has_port and self._has_socket(conversation, guest, closed):
            socket = self._sockets.get(on_link)
            if socket is None:
                socket = self._sockets[on_link] = self._script.udp(*on_link)
            channel = self._script.pair(socket, endpoint(*other))
            self._due[channel] = _Due()
        return DatagramPlan(str(conversation), conversation.protocol, on_link, other, channel, number)

    def _has_socket(self, conversation: Conversation, guest: tuple[bytes, int], closed: set[tuple[bytes, int]]) -> bool:
        """Whether an application of the guest had this UDP port: it sent from it, or did not say that it is closed."""
        return guest not in closed or any(self._is_guests(packet) for packet in conversation.packets)

    def _tcp_conversation(
        self, conversation: Conversation, guest: tuple[bytes, int], peer: tuple[bytes, int]
    ) -> TcpPlan | None:
        talk = talk_of(conversation, self._addresses.guests, self._departures)
        if talk is None:
            return None
        channel = self._script.channel()
        due = self._due[channel] = _Due()
        accepts = any(move.by_guest and move.flags & SYN and move.flags & ACK for move in talk.moves)
        if not talk.opened_by_guest and accepts:
            if guest not in self._listeners:
                self._listeners[guest] = self._script.listen(*guest)
            due.accept = (self._listeners[guest], endpoint(*peer))
        resets = any(move.flags & RST for move in talk.moves)
        number = conversation.packets[0].number
        return TcpPlan(str(conversation), talk, guest, peer, channel, number, ends_early=resets)

    def _tcp(self, of: TcpPlan, move: Move) -> None:
        if move.by_guest:
            self._guest_moves(of, move)
            return
        due = self._due[of.channel]
        self._act(Deed.SEND, of, move)
        if due.opened and move.flags & (SYN | RST | ACK) == ACK:
            due.answered = True
        if move.payload:
            before = due.got
            due.got = max(before, _reach(due.spans, max(move.seq, 1) - 1, move.seq - 1 + len(move.payload)))
            due.changed |= due.got > before
        if move.flags & RST:
            due.ended = due.changed = due.opened or due.accept is not None
        elif move.flags & FIN:
            due.eof_due = due.changed = not due.eof
            due.eof = True
        if due.changed:
            self._waiting[of.channel] = None

    def _guest_moves(self, of: TcpPlan, move: Move) -> None:
        due, talk = self._due[of.channel], of.talk
        script, when = self._script, self._when(move.time)
        if move.flags & SYN:
            if due.opened:
                return  # sent again: the guest's TCP does that by itself
            self._flush(move.number)
            due.opened = True
            if talk.opened_by_guest:
                script.step("connect", move.number, when, of.channel, endpoint(*of.guest), endpoint(*of.peer))
            else:
                due.changed = True
                self._waiting[of.channel] = None
            self._act(Deed.AWAIT, of, move)
        end = min(move.seq - 1 + len(move.payload), len(talk.guest_stream))
        if move.payload and end > due.guest_sent and not due.closed:
            self._flush(move.number)
            data = talk.guest_stream[due.guest_sent : end]
            # A full segment, and one right behind it: the application wrote more than a segment takes.
            goes_on = due.full and move.time - due.sent_at <= _ONE_WRITE and script.send_on(of.channel, data)
            if not goes_on:
                script.send("send", move.number, when, of.channel, data)
            due.guest_sent, due.sent_at, due.full = end, move.time, len(data) >= max(talk.guest_segment, _LEAST_MSS)
            self._act(Deed.AWAIT, of, move)
        elif move.payload:
            self._departures.tell(
                "The guest sent this again in the capture; its TCP decides that by itself.", move.number
            )
        if move.flags & FIN and not due.guest_fin and not due.closed:
            self._flush(move.number)
            due.guest_fin = True
            due.closed = due.eof or self._resets_later(talk, move)
            script.step("close" if due.closed else "shutdown", move.number, when, of.channel)
            self._act(Deed.AWAIT, of, move)
        if move.flags & RST and not due.closed and due.opened:
            self._flush(move.number)
            due.closed = True
            if due.guest_sent or due.guest_fin:
                # A reset throws away what has not left the guest yet: not before all of it has been seen.
                hold = script.hold(move.number, of.channel)
                self._actions.append(Action(Deed.RELEASE, move.number, move.time, of, hold=hold))
            script.step("abort", move.number, when, of.channel)
            self._act(Deed.AWAIT, of, move)
        elif move.flags & RST and not due.opened:
            self._act(Deed.AWAIT, of, move)  # refused: no port listens

    def _resets_later(self, talk: TcpTalk, fin: Move) -> bool:
        """Whether the guest answers with RST what comes behind its FIN: its application has closed, not shut down."""
        after = talk.moves[talk.moves.index(fin) + 1 :]
        return any(move.by_guest and move.flags & RST for move in after)

    def _datagram(self, of: DatagramPlan, packet: Packet) -> None:
        ip = packet.ip
        if ip is None:
            return
        if not self._is_guests(packet):
            self._act(Deed.SEND, of, None, packet)
            if of.channel is not None and (not ip.fragment or _offset(packet) == 0):
                due = self._due[of.channel]
                due.heard, due.changed = due.heard + 1, True
                self._waiting[of.channel] = None
            return
        if of.protocol == UDP and of.channel is not None:
            if ip.fragment:
                self._departures.tell("The guest's own fragments are left out.", packet.number)
                return
            payload = ip.payload + bytes(max(0, packet.length - len(packet.data)))
            self._flush(packet.number)
            when = self._when(packet.time)
            self._script.send("sendto", packet.number, when, of.channel, payload)
            self._act(Deed.AWAIT, of, None, packet)
        elif ip.body[:1] and ip.body[0] == _ECHO_REPLY.get(of.protocol, -1):
            self._act(Deed.AWAIT, of, None, packet)
        elif of.protocol in _ECHO_REPLY:
            if (of.protocol, *ip.body[:2]) not in _UNREACHABLE:
                self._departures.tell("The guest's own ICMP is left out: its system makes it.", packet.number)
        else:
            self._departures.tell(
                f"What the guest sends by IP protocol {of.protocol} is left out: no application can.", packet.number
            )

    def _flush(self, number: int) -> None:
        """Have the guest wait for everything that came before its next step."""
        waiting, self._waiting = list(self._waiting), {}
        for channel in waiting:
            due = self._due[channel]
            if due.accept is not None and due.ended:
                due.closed = True  # reset before anybody had to accept it: a system need not hand it out any more
                continue
            if due.accept is not None and not due.answered:
                self._waiting[channel] = None  # its handshake has not ended: nobody can accept it yet
                continue
            if due.accept is not None:
                self._script.step("accept", number, 0, channel, *due.accept)
                due.accept = None
            if due.got > due.told_got and not due.closed and due.opened:
                self._script.step("got", number, 0, channel, due.got)
                due.told_got = due.got
            if due.heard > due.told_heard:
                self._script.step("heard", number, 0, channel, due.heard)
                due.told_heard = due.heard
            if due.opened and not due.closed and (due.ended or due.eof_due):
                self._script.step("ended" if due.ended else "eof", number, 0, channel)
                due.closed = due.ended
            due.changed = due.eof_due = False

    def _act(self, deed: Deed, of: TcpPlan | DatagramPlan, move: Move | None, packet: Packet | None = None) -> None:
        step = move or packet
        if step is not None:
            self._actions.append(Action(deed, step.number, step.time, of, move, packet))

    def _when(self, time: int) -> int:
        return (time - self._begin) // 1000

    def _is_guests(self, packet: Packet) -> bool:
        ip = packet.ip
        return ip is not None and self._addresses.is_guest(ip.source)

    def _leave_out(self, conversation: Conversation, why: str) -> None:
        for packet in conversation.packets:
            self._departures.tell(why, packet.number)

    def _is_for_all(self, conversation: Conversation) -> bool:
        """Whether another host sends it to a group or to everybody, the guest too."""
        return not is_host(conversation.second[0]) and is_host(conversation.first[0])

    def _is_upkeep(self, conversation: Conversation) -> bool:
        if conversation.protocol == _IGMP:
            return True
        ip = conversation.packets[0].ip
        return conversation.protocol == ICMPV6 and ip is not None and bool(ip.body) and ip.body[0] in _LINK_UPKEEP

    def _closed_ports(self) -> set[tuple[bytes, int]]:
        """UDP ports of the guest that it said to be closed."""
        closed = set()
        for packet in self._capture.packets:
            ip = packet.ip
            if ip is None or ip.protocol not in _QUOTED_PORTS or (ip.protocol, *ip.body[:2]) not in _UNREACHABLE:
                continue
            at, length = _QUOTED_PORTS[ip.protocol]
            quoted = ip.body[at:]
            if len(quoted) >= length + 4 and quoted[9 if ip.protocol == ICMP else 6] == UDP:
                closed.add((ip.source, int.from_bytes(quoted[length + 2 : length + 4], "big")))
        return closed


def _offset(packet: Packet) -> int:
    return int.from_bytes(packet.data[6:8], "big") & 0x1FFF if packet.data[0] >> 4 == 4 else 1


def _reach(spans: list[tuple[int, int]], start: int, stop: int) -> int:
    """How far a stream is whole from its begin, once this part of it has come too."""
    spans.append((start, stop))
    spans.sort()
    reach, left = 0, []
    for begin, end in spans:
        if begin <= reach:
            reach = max(reach, end)
        else:
            left.append((begin, end))
    spans[:] = [(0, reach), *left]
    return reach
