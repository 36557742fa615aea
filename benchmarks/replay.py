"""Replaying a capture of 10,000 packets on the reference guest: `python -m benchmarks.replay [PACKETS]`.

Wanted: less than 60 s. The capture is made here: connections of many sizes both ways over IPv4 and IPv6, some of them
at the same time, retransmissions, segments out of order, resets, DNS and pings.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from benchmarks.bench import load, running_bench
from harness.capture import Capture, Packet, read
from harness.hypervisor.qemu_process import find_process
from harness.link.headers import ACK, FIN, ICMP, PSH, RST, SYN, UDP
from harness.ownership import temporary_folder
from harness.plugin.replaying import attempt
from harness.report import ScenarioFolder
from harness.reproduce import Settings
from harness.traffic.assemble import icmp_body, ip_frame, tcp_body, udp_body

WANTED = 60.0
GUEST, GUEST6 = "10.1.2.3", "2001:db8:77::3"
_OPTIONS = bytes.fromhex("020405b40103030704020101")
_START = 1_780_000_000_000_000_000


@dataclass(slots=True)
class _Tcp:
    """A connection as a generator of packets: each `next` is one more."""

    client: tuple[str, int]
    server: tuple[str, int]
    random: random.Random
    seq: list[int] = field(default_factory=list)

    def packets(self) -> Iterator[bytes]:
        self.seq = [self.random.randrange(1 << 32) for _ in range(2)]
        yield self.segment(0, SYN, options=_OPTIONS)
        yield self.segment(1, SYN | ACK, options=_OPTIONS)
        yield self.segment(0, ACK)
        for _ in range(self.random.randrange(1, 5)):
            yield from self.turn(0, self.random.choice((60, 400, 1460, 3000)))
            yield from self.turn(1, self.random.choice((200, 1460, 6000, 30000)))
        if self.random.random() < 0.2:
            yield self.segment(self.random.randrange(2), RST | ACK)
            return
        ends = self.random.randrange(2)
        yield self.segment(ends, FIN | ACK)
        yield self.segment(1 - ends, FIN | ACK)
        yield self.segment(ends, ACK)

    def turn(self, who: int, size: int) -> Iterator[bytes]:
        payload = self.random.randbytes(size)
        pieces = [payload[at : at + 1400] for at in range(0, size, 1400)]
        for number, piece in enumerate(pieces):
            if self.random.random() < 0.02 and number + 1 < len(pieces) and len(piece) == len(pieces[number + 1]):
                yield self.segment(who, ACK, pieces[number + 1], ahead=len(piece))  # out of order, and once more below
            yield self.segment(who, ACK | (PSH if number + 1 == len(pieces) else 0), piece)
            if self.random.random() < 0.02:
                yield self.segment(who, ACK, piece, ahead=-len(piece))  # again
            if number % 2 or number + 1 == len(pieces):
                yield self.segment(1 - who, ACK)

    def segment(self, who: int, flags: int, payload: bytes = b"", *, ahead: int = 0, options: bytes = b"") -> bytes:
        ends = (self.client, self.server) if who == 0 else (self.server, self.client)
        packed = [ip_address(address).packed for address, _ in ends]
        ack = self.seq[1 - who] if flags & ACK else 0
        ports = (ends[0][1], ends[1][1])
        body = tcp_body(packed[0], packed[1], ports, self.seq[who] + ahead, ack, flags, 64240, payload, options)
        if not ahead:
            self.seq[who] += len(payload) + bool(flags & (SYN | FIN))
        return ip_frame(bytes(6), bytes(6), packed[0], packed[1], 6, body)[14:]


def make_capture(count: int, *, seed: int = 1) -> Capture:
    """A capture of this many packets; the same for the same seed."""
    chance = random.Random(seed)
    open_now: list[Iterator[bytes]] = []
    packets: list[Packet] = []
    ports = iter(range(20000, 65536))
    while len(packets) < count:
        if len(open_now) < 4 and chance.random() < 0.3:
            open_now.append(_conversation(chance, next(ports)))
        if not open_now:
            continue
        talk = chance.choice(open_now)
        for _ in range(chance.randrange(1, 8)):
            data = next(talk, None)
            if data is None:
                open_now.remove(talk)
                break
            packets.append(Packet(len(packets) + 1, _START + len(packets) * 2_000_000, data, len(data)))
    return Capture(tuple(packets[:count]))


def _conversation(chance: random.Random, port: int) -> Iterator[bytes]:
    kind = chance.random()
    six = chance.random() < 0.3
    guest = GUEST6 if six else GUEST
    other = f"2001:db8:99::{chance.randrange(1, 40):x}" if six else f"203.0.113.{chance.randrange(1, 40)}"
    if kind < 0.15 and not six:
        return _dns(chance, port, other)
    if kind < 0.25 and not six:
        return _pings(port, other)
    if kind < 0.6:
        return _Tcp((guest, port), (other, chance.choice((80, 443))), chance).packets()
    return _Tcp((other, port), (guest, 8080), chance).packets()


def _dns(chance: random.Random, port: int, server: str) -> Iterator[bytes]:
    guest, other = ip_address(GUEST).packed, ip_address(server).packed
    for _ in range(chance.randrange(1, 4)):
        question = chance.randbytes(40)
        yield ip_frame(bytes(6), bytes(6), guest, other, UDP, udp_body(guest, other, (port, 53), question))[14:]
        answer = question + chance.randbytes(100)
        yield ip_frame(bytes(6), bytes(6), other, guest, UDP, udp_body(other, guest, (53, port), answer))[14:]


def _pings(identifier: int, host: str) -> Iterator[bytes]:
    guest, other = ip_address(GUEST).packed, ip_address(host).packed
    for number in range(3):
        rest = identifier.to_bytes(2, "big") + number.to_bytes(2, "big") + bytes(32)
        yield ip_frame(bytes(6), bytes(6), other, guest, ICMP, icmp_body(other, guest, 8, 0, rest))[14:]
        yield ip_frame(bytes(6), bytes(6), guest, other, ICMP, icmp_body(guest, other, 0, 0, rest))[14:]


def _cpu_seconds(machine: str) -> float:
    """What the process of a machine has used: on a busy host the better figure."""
    process = find_process(machine)
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run it and print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with temporary_folder("bench") as folder:
        path = folder / "field.pcapng"
        make_capture(count).write(path)
        capture = read(path)
        print(f"{len(capture)} packets, {len(capture.conversations())} conversations, {path.stat().st_size >> 10} KiB")
        with running_bench() as bench:
            settings = Settings(guest_addresses=(GUEST, GUEST6))
            before = _cpu_seconds(bench.machine.name)
            found = attempt(bench, ScenarioFolder(folder, "benchmark"), capture, settings)
            used = _cpu_seconds(bench.machine.name) - before
    if found.replayed is None:
        raise SystemExit(f"{found.outcome}: {found.error}")
    figures = found.replayed.figures
    print(f"{found.outcome}; {figures}")
    if found.error is not None:
        print(found.error)
    for departure in found.replayed.departures:
        print(f"  {departure}")
    print(f"the guest's QEMU used {used:.1f} s of processor time, revert and checks included; {load()}")
    print(f"{figures.seconds:.1f} s, wanted less than {WANTED:.0f} s for 10,000 packets")


if __name__ == "__main__":
    main()
