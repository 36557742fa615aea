"""What an impaired wire does to frames."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from itertools import pairwise

from harness.link import Direction, StreamLink
from harness.link.framing import FrameDecoder, encode_frame
from harness.link.impair import TcpImpairment
from harness.waiting import Deadline, wait_for


def segment(number: int, flags: int = 0x10, protocol: int = 6) -> bytes:
    """An Ethernet frame with a TCP segment of that sequence number; sums are nobody's business here."""
    tcp = struct.pack(">HHIIBBHHH", 49152, 80, number, 1, 0x50, flags, 1024, 0, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, protocol, 0, bytes(4), bytes(4))
    return bytes(12) + b"\x08\x00" + ip + tcp


def carried(impairment: TcpImpairment, frames: list[bytes]) -> list[bytes]:
    return [arriving for frame in frames for arriving in impairment(frame)]


def test_the_same_seed_does_the_same_again_and_another_seed_does_not() -> None:
    frames = [segment(number) for number in range(200)]
    first, again, other = (carried(TcpImpairment(seed, lose=0.1, repeat=0.1, swap=0.2), frames) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_what_it_counts_is_what_happened() -> None:
    impairment = TcpImpairment(3, lose=0.1, repeat=0.1, swap=0.2)
    frames = [segment(number) for number in range(500)]
    arrived = carried(impairment, [*frames, segment(0, protocol=17)])[:-1]
    times = Counter(arrived)

    assert sum(frame not in times for frame in frames) == impairment.lost > 0
    assert sum(count == 2 for count in times.values()) == impairment.repeated > 0
    swapped = sum(later < earlier for earlier, later in pairwise(arrived))
    assert 0 < swapped <= impairment.swapped


def test_handshakes_resets_and_what_is_not_tcp_pass() -> None:
    impairment = TcpImpairment(4, lose=1.0)
    spared = [segment(1, flags=0x02), segment(2, flags=0x12), segment(3, flags=0x14), segment(4, protocol=17), b"short"]

    assert carried(impairment, spared) == spared
    assert carried(impairment, [segment(5)]) == []


def test_a_segment_that_is_held_back_comes_with_the_next_frame_of_any_kind() -> None:
    impairment = TcpImpairment(5, swap=1.0)
    ping = segment(0, protocol=1)

    assert list(impairment(segment(1))) == []
    assert list(impairment(ping)) == [ping, segment(1)]


def test_a_stream_link_is_impaired_both_ways_until_it_is_not() -> None:
    with StreamLink.listen() as link, socket.create_connection(("127.0.0.1", link.port)) as peer:
        link.accept(Deadline(20))
        peer.settimeout(20)
        seen: list[bytes] = []
        sent: list[bytes] = []
        link.subscribe(lambda direction, frame, when: seen.append(frame), Direction.FROM_GUEST)
        link.subscribe(lambda direction, frame, when: sent.append(frame), Direction.TO_GUEST)
        link.impair(TcpImpairment(1, lose=1.0), TcpImpairment(1, repeat=1.0))

        link.send_all([segment(1), b"not tcp"])
        peer.sendall(encode_frame(segment(2)))
        wait_for(lambda: seen if len(seen) == 2 else None, Deadline(20), "the frame, twice", 0.001)
        link.impair()
        link.send(segment(3))

        decoder, arrived = FrameDecoder(), []
        while len(arrived) < 2:
            arrived += decoder.feed(peer.recv(1 << 16))
        assert arrived == sent == [b"not tcp", segment(3)]
        assert seen == [segment(2)] * 2
