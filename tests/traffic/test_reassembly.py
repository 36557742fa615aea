"""Fragments that stations put together, and those that they must not."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.packet import Raw

from harness.link.headers import parse_ip
from harness.link.router import cut
from harness.traffic import frames
from harness.traffic.reassembly import Reassembly
from harness.waiting import Deadline


def packet(size: int, number: int = 1) -> bytes:
    body = UDP(sport=4000, dport=7) / Raw(bytes(place % 251 for place in range(size)))
    return bytes(frames.ip("192.0.2.2", "198.51.100.5", body, id=number))


@given(st.integers(1000, 4000), st.integers(68, 900), st.integers(0, 1000))
def test_a_packet_is_whole_again_in_whatever_order_it_comes(size: int, mtu: int, seed: int) -> None:
    sent = packet(size)
    pieces = cut(sent, mtu)
    random.Random(seed).shuffle(pieces)
    reassembly = Reassembly()

    *before, last = [reassembly.put(piece) for piece in pieces]

    assert set(before) <= {None}
    assert last is not None
    whole = parse_ip(last)
    assert whole is not None
    assert whole.trouble is None
    assert last[34:] == sent[34:]


def test_packets_do_not_mix_and_a_repetition_does_no_harm() -> None:
    reassembly = Reassembly()
    one, two = cut(packet(1000, 1), 600), cut(packet(1200, 2), 700)

    assert [reassembly.put(frame) for frame in (one[0], two[0], one[0])] == [None] * 3
    assert reassembly.put(one[1])[34:] == packet(1000, 1)[34:]
    assert reassembly.put(two[1])[34:] == packet(1200, 2)[34:]


def test_what_lies_over_each_other_is_forgotten() -> None:
    reassembly = Reassembly()
    small, large = cut(packet(2000), 300), cut(packet(2000), 700)

    given_back = [reassembly.put(frame) for frame in (large[0], small[1], large[1], large[2])]

    assert given_back == [None] * 4


def test_a_guest_cannot_fill_the_memory() -> None:
    reassembly = Reassembly()
    for number in range(200):
        reassembly.put(cut(packet(1000, number), 600)[0])
    assert len(reassembly._waiting) == 16


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=100)), max_size=20))
def test_no_fragments_break_it(pieces: list[tuple[int, bytes]]) -> None:
    reassembly = Reassembly()
    for word, body in pieces:
        frame = bytearray(packet(0))[:34] + body
        frame[16:18] = (20 + len(body)).to_bytes(2, "big")
        frame[20:22] = word.to_bytes(2, "big")
        reassembly.put(bytes(frame))


def test_a_station_reads_a_datagram_that_came_in_fragments(make_twins) -> None:
    host, guest, _, far = make_twins()
    socket = host.add("198.51.100.5").udp(7)
    del guest
    for piece in cut(packet(3000), 1000):
        far.post(piece)

    assert socket.receive(Deadline(60)).payload == packet(3000)[42:]
    assert host.counters.bad_packets == 0
