"""Captures that are written as stories: who says what to whom, in order, a packet each."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.capture import Capture, Packet
from harness.link.headers import ACK, FIN, PSH, RST, SYN, TCP, UDP
from harness.traffic.address import pack_address
from harness.traffic.assemble import icmp_body, icmp_protocol, ip_frame, tcp_body, udp_body

GUEST, PEER = "10.0.0.5", "198.51.100.7"
SYN_OPTIONS = bytes.fromhex("020405b4 0103 0307 0402 0101".replace(" ", ""))


@dataclass
class Story:
    """Packets with a clock that goes on by a millisecond each."""

    packets: list[Packet] = field(default_factory=list)
    now: int = 1_700_000_000_000_000_000
    outgoing_of: str | None = None

    def put(self, source: str, destination: str, protocol: int, body: bytes, *, cut: int = 0) -> None:
        frame = ip_frame(bytes(6), bytes(6), pack_address(source), pack_address(destination), protocol, body)
        data = frame[14:]
        outgoing = None if self.outgoing_of is None else source == self.outgoing_of
        self.packets.append(Packet(len(self.packets) + 1, self.now, data[: len(data) - cut], len(data), outgoing))
        self.now += 1_000_000

    def udp(self, source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> None:
        packed = pack_address(source[0]), pack_address(destination[0])
        self.put(source[0], destination[0], UDP, udp_body(*packed, (source[1], destination[1]), payload))

    def icmp(self, source: str, destination: str, kind: int, code: int, rest: bytes) -> None:
        packed = pack_address(source), pack_address(destination)
        self.put(source, destination, icmp_protocol(packed[0]), icmp_body(*packed, kind, code, rest))

    def tcp(self, client: tuple[str, int], server: tuple[str, int], **numbers: int) -> Connection:
        return Connection(self, client, server, **numbers)

    def capture(self) -> Capture:
        return Capture(tuple(self.packets))


@dataclass
class Connection:
    """Both ends of a TCP connection, and where their numbers stand."""

    story: Story
    client: tuple[str, int]
    server: tuple[str, int]
    client_seq: int = 0xFFFFFF00  # so that it goes round
    server_seq: int = 5000
    window: int = 0xFAF0
    options: bytes = SYN_OPTIONS

    def segment(
        self, by_client: bool, flags: int, payload: bytes = b"", *, back: int = 0, ahead: int = 0, options: bytes = b"",
        cut: int = 0, moves: bool = True, acks: int | None = None,
    ) -> None:  # fmt: skip
        """One segment at where its side stands, so many bytes back or ahead of it."""
        source, destination = (self.client, self.server) if by_client else (self.server, self.client)
        seq = self.client_seq if by_client else self.server_seq
        ack = (self.server_seq if by_client else self.client_seq) if acks is None else acks
        packed = pack_address(source[0]), pack_address(destination[0])
        body = tcp_body(
            *packed, (source[1], destination[1]), seq - back + ahead, ack if flags & ACK else 0, flags, self.window,
            payload, options,
        )  # fmt: skip
        self.story.put(source[0], destination[0], TCP, body, cut=cut)
        if moves and not back:
            step = ahead + len(payload) + bool(flags & SYN) + bool(flags & FIN)
            if by_client:
                self.client_seq += step
            else:
                self.server_seq += step

    def open(self) -> Connection:
        self.segment(True, SYN, options=self.options)
        self.segment(False, SYN | ACK, options=self.options)
        self.segment(True, ACK)
        return self

    def say(self, payload: bytes, *, size: int = 1460) -> Connection:
        """The client says something, and the server acknowledges it."""
        return self._talk(True, payload, size)

    def answer(self, payload: bytes, *, size: int = 1460) -> Connection:
        return self._talk(False, payload, size)

    def close(self, *, by_client: bool = True) -> Connection:
        self.segment(by_client, FIN | ACK)
        self.segment(not by_client, FIN | ACK)
        self.segment(by_client, ACK)
        return self

    def reset(self, *, by_client: bool) -> Connection:
        self.segment(by_client, RST | ACK)
        return self

    def _talk(self, by_client: bool, payload: bytes, size: int) -> Connection:
        for at in range(0, len(payload), size):
            self.segment(by_client, PSH | ACK, payload[at : at + size])
            self.segment(not by_client, ACK)
        return self
