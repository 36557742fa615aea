"""Smaller packets are right packets: lengths, checksums, and how the segments of a connection lie to each other."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.capture import Capture, Packet
from harness.link.headers import ACK, FIN, PSH, RST, SYN
from harness.minimise.smaller import changed, pauses, plain, shortened, without_pauses
from harness.traffic.assemble import icmp_body, ip_frame, tcp_body, udp_body
from tests.minimise.field import GUEST, SERVICE, Talk, field_capture
from tests.minimise.ledger import judge

A, B = ip_address("198.51.100.7").packed, ip_address(GUEST).packed
SIX = ip_address("2001:db8::7").packed, ip_address("2001:db8::2").packed


def packet(number: int, source: bytes, destination: bytes, protocol: int, body: bytes) -> Packet:
    data = ip_frame(bytes(6), bytes(6), source, destination, protocol, body)[14:]
    return Packet(number, number * 1000, data, len(data))


def capture_of(talk: Talk) -> Capture:
    return Capture(tuple(Packet(n, n, data, len(data)) for n, data in enumerate(talk.packets, 1)))


def relations(capture: Capture) -> list[tuple[int, ...]]:
    """Of each segment of the first sender against each other one: does it begin, end before, at or after."""
    first = capture.packets[0].ip
    assert first is not None
    spans = []
    for one in capture.packets:
        ip, segment = one.ip, one.tcp
        assert ip is not None
        assert segment is not None
        if ip.source == first.source:
            begin = segment.seq + bool(segment.flags & SYN)
            spans.append((begin, begin + len(segment.payload)))
    return [tuple((x > y) - (x < y) for x in one for y in other) for one in spans for other in spans]


@pytest.mark.parametrize("most", [1, 3, 16])
def test_a_connection_keeps_its_overlaps_gaps_and_order(most: int) -> None:
    talk = Talk(("198.51.100.7", 40000), (GUEST, SERVICE), 5)
    talk.open()
    talk.ask(0, 2, disorder=True)
    talk.say(0, ACK | PSH, b"x" * 100)
    talk.say(0, ACK | PSH, b"y" * 50, ahead=-70)
    talk.say(0, ACK | PSH, b"z" * 90, ahead=-20)
    talk.next[0] += 70
    talk.say(1, ACK)
    talk.overtake()
    before = capture_of(talk)
    after = changed(before, before.conversations(), shortened(most))
    assert relations(after) == relations(before)
    assert all(one.ip is not None and one.ip.trouble is None for one in after.packets)
    assert sum(one.length for one in after.packets) < sum(one.length for one in before.packets)
    assert judge(before) == judge(after)
    assert judge(after).crash is not None


def test_what_overlapped_with_the_same_bytes_does_so_still() -> None:
    talk = Talk(("198.51.100.7", 40000), (GUEST, SERVICE), 5)
    talk.open()
    stream = bytes(range(200))
    talk.say(0, ACK, stream[:120])
    talk.say(0, ACK, stream[60:200], ahead=-60)
    before = capture_of(talk)
    after = changed(before, before.conversations(), shortened(4))
    first, second = after.packets[3].tcp, after.packets[4].tcp
    assert first is not None
    assert second is not None
    shift = (second.seq - first.seq) % (1 << 32)
    overlap = len(first.payload) - shift
    assert (shift, overlap) == (4, 4)
    assert first.payload[shift:] == second.payload[:overlap]


@given(seed=st.integers(0, 1 << 32), most=st.integers(1, 40))
def test_numbers_may_wrap_around(seed: int, most: int) -> None:
    talk = Talk(("198.51.100.7", 40000), (GUEST, SERVICE), 5)
    talk.next[0] = (0 - seed % 900) % (1 << 32)
    talk.open()
    talk.ask(0, 2, disorder=True)
    talk.overtake()
    before = capture_of(talk)
    after = changed(before, before.conversations(), shortened(most))
    assert judge(after).crash is not None
    assert all(one.ip is not None and one.ip.trouble is None for one in after.packets)


def test_datagrams_and_echoes_are_cut_in_both_families() -> None:
    before = Capture(
        (
            packet(1, A, B, 17, udp_body(A, B, (53, 5000), b"question")),
            packet(2, A, B, 1, icmp_body(A, B, 8, 0, bytes(4) + b"pingpong")),
            packet(3, *SIX, 17, udp_body(*SIX, (53, 5000), b"question")),
            packet(4, *SIX, 58, icmp_body(*SIX, 128, 0, bytes(4) + b"pingpong")),
            packet(5, *SIX, 6, tcp_body(*SIX, (80, 90), 5, 6, ACK, 100, b"payload")),
        )
    )
    after = changed(before, before.conversations(), shortened(1))
    assert [one.ip.payload[-1:] for one in after.packets if one.ip] == [b"q", b"p", b"q", b"p", b"p"]
    assert [one.length - len(one.data) for one in after.packets] == [0] * 5
    assert all(one.ip is not None and one.ip.trouble is None for one in after.packets)
    assert [one.number for one in after.packets] == [1, 2, 3, 4, 5]
    letters = changed(before, before.conversations(), plain)
    assert letters.packets[0].ip is not None
    assert letters.packets[0].ip.payload == b"aaaaaaaa"
    assert [one.length for one in letters.packets] == [one.length for one in before.packets]


def test_what_was_cut_or_is_a_fragment_is_left_as_it_is() -> None:
    whole = packet(1, A, B, 17, udp_body(A, B, (53, 5000), b"question"))
    cut = Packet(2, 0, whole.data[:-3], len(whole.data))
    fragment = bytearray(whole.data)
    fragment[6:8] = b"\x20\x00"
    parts = Packet(3, 0, bytes(fragment), len(fragment))
    headers = Packet(4, 0, whole.data[:8], len(whole.data))
    before = Capture((cut, parts, headers))
    for change in (plain, shortened(1)):
        assert changed(before, before.conversations(), change) == before


def test_a_connection_of_which_a_part_was_cut_keeps_its_numbers() -> None:
    talk = Talk(("198.51.100.7", 40000), (GUEST, SERVICE), 5)
    talk.open()
    talk.ask(0, 2)
    packets = list(capture_of(talk).packets)
    packets[3] = Packet(4, 4, packets[3].data[:50], packets[3].length)
    before = Capture(tuple(packets))
    assert changed(before, before.conversations(), shortened(1)) == before


def test_old_acknowledgements_of_pieces_become_no_operations() -> None:
    sack = b"\x01\x01\x05\x0a" + bytes(8)
    body = tcp_body(A, B, (80, 90), 5, 6, ACK, 100, b"payload", sack)
    broken = tcp_body(A, B, (80, 90), 12, 6, ACK, 100, b"more", b"\x05\x40\x01\x01")
    before = Capture((packet(1, A, B, 6, body), packet(2, A, B, 6, broken)))
    after = changed(before, before.conversations(), shortened(1))
    segments = [one.tcp for one in after.packets]
    assert segments[0] is not None
    assert segments[0].options == b"\x01" * 12
    assert segments[1] is not None
    assert segments[1].options == b"\x05\x40\x01\x01"


def test_pauses_go_but_for_those_that_are_kept() -> None:
    capture = field_capture(connections=3, culprit=None)
    assert len(pauses(capture)) == len(capture) - 1
    kept = capture.numbers[4:6]
    quick = without_pauses(capture, kept)
    assert pauses(quick) == kept
    times = {one.number: one.time for one in capture.packets}
    assert quick.packets[-1].time - quick.packets[0].time == times[kept[1]] - times[kept[0] - 1]


@given(st.binary(min_size=0, max_size=120), st.integers(1, 20))
def test_no_bytes_stop_it(data: bytes, most: int) -> None:
    """What comes from a capture is hostile: broken headers are left alone."""
    before = Capture((Packet(1, 0, b"\x45" + data, len(data) + 1), Packet(2, 0, b"\x60" + data, len(data) + 1)))
    for change in (plain, shortened(most)):
        changed(before, before.conversations(), change)


def test_the_end_bits_have_their_place() -> None:
    talk = Talk(("198.51.100.7", 40000), (GUEST, SERVICE), 5)
    talk.open()
    talk.ask(0, 1)
    talk.close()
    before = capture_of(talk)
    after = changed(before, before.conversations(), shortened(1))
    syn, ack, data, fin = (after.packets[at].tcp for at in (0, 2, 3, 5))
    assert syn is not None
    assert ack is not None
    assert data is not None
    assert fin is not None
    assert (ack.seq - syn.seq, data.seq - syn.seq, len(data.payload), fin.seq - syn.seq) == (1, 1, 1, 2)
    assert fin.flags & FIN
    assert not fin.flags & RST
