"""A capture as it would come from the field: a guest at work among its clients and servers, some thousand packets.

Many connections lose a segment and get it later, many end with a RST. In one alone a RST overtakes data: it comes
while a segment is still missing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import count

from harness.capture import Capture, Packet
from harness.link.headers import ACK, FIN, PSH, RST, SYN, UDP
from harness.traffic.assemble import ip_frame, tcp_body, udp_body

GUEST = "10.20.30.40"
SERVICE = 8080
_MACS = bytes(6), bytes(6)
_START = 1_790_000_000_000_000_000
_SEGMENT = 400


class Talk:
    """One TCP connection, told by who speaks; packets come out in order, without time."""

    def __init__(self, client: tuple[str, int], server: tuple[str, int], seed: int) -> None:
        numbers = random.Random(seed)
        self.ends = client, server
        self.next = [numbers.randrange(1 << 32), numbers.randrange(1 << 32)]
        self.packets: list[bytes] = []

    def say(self, who: int, flags: int, payload: bytes = b"", *, ahead: int = 0) -> None:
        """A segment of the client (0) or the server (1); one that is `ahead` leaves a gap before it."""
        source, destination = (ip_address(self.ends[side][0]).packed for side in (who, 1 - who))
        ports = self.ends[who][1], self.ends[1 - who][1]
        ack = self.next[1 - who] if flags & ACK else 0
        body = tcp_body(source, destination, ports, self.next[who] + ahead, ack, flags, 64240, payload)
        self.packets.append(ip_frame(*_MACS, source, destination, 6, body)[14:])
        if not ahead:
            self.next[who] += len(payload) + bool(flags & (SYN | FIN))

    def open(self) -> None:
        """The handshake."""
        self.say(0, SYN)
        self.say(1, SYN | ACK)
        self.say(0, ACK)

    def ask(self, who: int, pieces: int, *, disorder: bool = False) -> None:
        """Some segments, each acknowledged; with `disorder` the second comes before the first."""
        for _ in range(pieces):
            if disorder:
                self.say(who, ACK | PSH, b"B" * _SEGMENT, ahead=_SEGMENT)
                self.say(1 - who, ACK)
                self.say(who, ACK | PSH, b"A" * _SEGMENT)
                self.next[who] += _SEGMENT
            else:
                self.say(who, ACK | PSH, b"A" * _SEGMENT)
            self.say(1 - who, ACK)

    def close(self) -> None:
        """Both sides end it."""
        self.say(0, FIN | ACK)
        self.say(1, FIN | ACK)
        self.say(0, ACK)

    def overtake(self) -> None:
        """The client sends ahead of a segment that never comes, then resets what it has sent to."""
        self.say(0, ACK | PSH, b"C" * _SEGMENT, ahead=_SEGMENT)
        self.say(1, ACK)
        self.next[0] += 2 * _SEGMENT
        self.say(0, RST | ACK)


def field_capture(*, connections: int = 120, culprit: int | None = 73, seed: int = 1) -> Capture:
    """The capture, with `connections` to and from the guest; without a `culprit` no RST overtakes anything."""
    chance = random.Random(seed)
    talks = [_talk(number, chance, is_culprit=number == culprit) for number in range(connections)]
    talks += [_names(number) for number in range(connections // 4)]
    return merged(talks, chance)


def merged(talks: list[list[bytes]], chance: random.Random, *, at_once: int = 6) -> Capture:
    """The packets of several conversations, some of them at a time, each in its own order."""
    waiting, running = list(talks), [iter(())]
    packets: list[Packet] = []
    numbers, time = count(1), _START
    while running or waiting:
        while waiting and len(running) < at_once:
            running.append(iter(waiting.pop(0)))
        talk: Iterator[bytes] = chance.choice(running)
        data = next(talk, None)
        if data is None:
            running.remove(talk)
            continue
        time += chance.randrange(20_000, 2_000_000)
        packets.append(Packet(next(numbers), time, data, len(data)))
    return Capture(tuple(packets))


def renumbered(capture: Capture) -> Capture:
    """The same packets, counted from 1."""
    return Capture(tuple(replace(packet, number=number) for number, packet in enumerate(capture.packets, 1)))


def _talk(number: int, chance: random.Random, *, is_culprit: bool) -> list[bytes]:
    peer = f"198.51.100.{number % 200 + 10}", 40_000 + number
    inbound = is_culprit or number % 3 != 0
    talk = Talk(peer, (GUEST, SERVICE), number) if inbound else Talk((GUEST, 49_000 + number), (peer[0], 443), number)
    talk.open()
    talk.ask(0, chance.randrange(1, 4), disorder=inbound and number % 4 == 1)
    talk.ask(1, chance.randrange(2, 14))
    if is_culprit:
        talk.overtake()
    elif number % 5 == 2:
        talk.say(0, RST | ACK)
    else:
        talk.close()
    return talk.packets


def _names(number: int) -> list[bytes]:
    """A question to a name server, and its answer."""
    guest, server = ip_address(GUEST).packed, ip_address("198.51.100.53").packed
    ask = udp_body(guest, server, (51_000 + number, 53), b"question %d" % number)
    answer = udp_body(server, guest, (53, 51_000 + number), b"answer %d" % number)
    return [ip_frame(*_MACS, guest, server, UDP, ask)[14:], ip_frame(*_MACS, server, guest, UDP, answer)[14:]]
