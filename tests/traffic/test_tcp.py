"""A TCP peer against a TCP peer, over a perfect link and over a bad one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.link import Direction, MemoryLink
from harness.link.headers import ACK, FIN, SYN, TcpSegment, parse_ip, parse_tcp
from harness.traffic import Stations, TcpError
from harness.traffic.assemble import ip_frame, tcp_body
from harness.waiting import Deadline


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(60)


def test_data_goes_both_ways_and_both_sides_close(twins: tuple[Stations, Stations], deadline: Deadline) -> None:
    host, guest = twins
    server = host.add("198.51.100.5").tcp_listen(80)
    client = guest.gateway.tcp_connect("198.51.100.5", 80, deadline)
    accepted = server.wait_for_connection(deadline)

    client.send(b"question")
    assert accepted.receive(8, deadline) == b"question"
    accepted.send(b"answer")
    accepted.close()
    assert client.receive_all(deadline) == b"answer"
    client.close()

    client.wait_closed(deadline)
    accepted.wait_closed(deadline)
    assert (client.error, accepted.error) == (None, None)
    assert accepted.peer == str(client.local)


def test_more_than_a_window_waits_for_the_reader(twins: tuple[Stations, Stations], deadline: Deadline) -> None:
    host, guest = twins
    server = host.gateway.tcp_listen(80)
    client = guest.gateway.tcp_connect("192.0.2.1", 80, deadline)
    accepted = server.wait_for_connection(deadline)
    data = random.Random(1).randbytes(300_000)

    client.send(data)
    assert accepted.receive(1, deadline) == data[:1]
    assert len(accepted.received) <= 65_536
    assert accepted.receive(len(data) - 1, deadline) == data[1:]
    client.flush(deadline)


def test_an_echo_listener_sends_back_and_closes(twins: tuple[Stations, Stations], deadline: Deadline) -> None:
    host, guest = twins
    host.gateway.tcp_listen(7, echo=True)
    client = guest.gateway.tcp_connect("192.0.2.1", 7, deadline)
    data = random.Random(2).randbytes(200_000)
    client.send(data)
    client.close()
    assert client.receive_all(deadline) == data


def test_a_port_that_nobody_listens_on_refuses(
    twins: tuple[Stations, Stations], deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, guest = twins
    monkeypatch.setattr("harness.traffic.tcp_buffers._FIRST_RTO", 600.0)  # on a slow host one SYN more would be refused
    with pytest.raises(TcpError, match="was refused") as caught:
        guest.gateway.tcp_connect("192.0.2.1", 81, deadline)
    assert caught.value.reason == "refused"
    assert host.counters.refused == 1


def test_a_reset_ends_the_other_side(twins: tuple[Stations, Stations], deadline: Deadline) -> None:
    host, guest = twins
    server = host.gateway.tcp_listen(80)
    client = guest.gateway.tcp_connect("192.0.2.1", 80, deadline)
    server.wait_for_connection(deadline).reset()
    with pytest.raises(TcpError, match="was reset by the guest; 1 bytes were wanted and 0 came"):
        client.receive(1, deadline)


def test_early_end_of_data_is_told_apart_from_a_full_answer(
    twins: tuple[Stations, Stations], deadline: Deadline
) -> None:
    host, guest = twins
    server = host.gateway.tcp_listen(80)
    client = guest.gateway.tcp_connect("192.0.2.1", 80, deadline)
    accepted = server.wait_for_connection(deadline)
    accepted.send(b"four")
    accepted.close()
    with pytest.raises(TcpError, match="5 bytes were wanted and 4 came"):
        client.receive(5, deadline)
    assert client.receive(4, deadline) == b"four"


def test_reset_of_the_stations_sends_no_frame(make_twins: Callable, deadline: Deadline) -> None:
    host, guest, first, second = make_twins()
    host.gateway.tcp_listen(80)
    client = guest.gateway.tcp_connect("192.0.2.1", 80, deadline)
    first.settle(deadline)  # from here on nothing is sent again to the guest,
    second.settle(deadline)  # and what was has been answered
    before = second.counters.sent
    guest.reset()
    assert second.counters.sent == before
    with pytest.raises(TcpError, match="forgotten when the guest was reverted"):
        client.receive(1, deadline)


class BadRoad:
    """Loses, doubles and holds back frames, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.held: list[bytes] = []

    def __call__(self, frame: bytes) -> Iterable[bytes]:
        fate = self.random.random()
        if fate < 0.05:
            return ()
        if fate < 0.10:
            return (frame, frame)
        if fate < 0.20:
            self.held.append(frame)
            return ()
        held, self.held = self.held, []
        return (frame, *reversed(held))


@pytest.mark.parametrize("seed", range(4))
def test_data_is_whole_over_a_road_that_loses_doubles_and_reorders(make_twins: Callable, seed: int) -> None:
    deadline = Deadline(100)
    host, guest, _, _ = make_twins(BadRoad(seed), BadRoad(seed + 100))
    host.gateway.tcp_listen(7, echo=True)
    client = guest.gateway.tcp_connect("192.0.2.1", 7, deadline)
    data = random.Random(seed).randbytes(150_000)
    client.send(data)
    client.close()
    assert client.receive_all(deadline) == data
    assert client.retransmitted > 0


def test_ipv6_works_the_same(twins: tuple[Stations, Stations], deadline: Deadline) -> None:
    host, guest = twins
    host.add("2001:db8:5::5").tcp_listen(7, echo=True)
    client = guest.gateway6.tcp_connect("2001:db8:5::5", 7, deadline)
    client.send(b"six")
    client.close()
    assert client.receive_all(deadline) == b"six"
    assert host.ping(deadline, source=host.gateway6) > 0


segments = st.builds(
    TcpSegment,
    source_port=st.just(4000),
    destination_port=st.sampled_from([7, 80, 81]),
    seq=st.integers(0, 3) | st.integers(0, 0xFFFFFFFF) | st.just(0xFFFFFFFF),
    ack=st.integers(0, 0xFFFFFFFF),
    flags=st.integers(0, 255),
    window=st.integers(0, 65535),
    options=st.binary(max_size=12),
    payload=st.binary(max_size=20),
)


@given(st.lists(segments, max_size=20), st.booleans())
def test_no_segment_of_a_hostile_guest_breaks_the_peer(sent: list[TcpSegment], honest_acks: bool) -> None:
    """Whatever comes, nothing raises, and what is acknowledged never runs ahead of what was received."""
    first, second = MemoryLink.pair()
    with first, second, Stations(first) as stations:
        stations.gateway.tcp_listen(7, echo=True)
        stations.gateway.tcp_listen(80)
        source, destination = bytes((192, 0, 2, 2)), bytes((192, 0, 2, 1))
        last_seq = [0]
        second.subscribe(
            lambda direction, frame, when: last_seq.append(parse_tcp(parse_ip(frame)).seq), Direction.FROM_GUEST
        )
        for segment in sent:
            ack = last_seq[-1] + 1 if honest_acks else segment.ack
            ports = (segment.source_port, segment.destination_port)
            body = tcp_body(source, destination, ports, segment.seq, ack, segment.flags, segment.window,
                            segment.payload, segment.options)  # fmt: skip
            second.send(ip_frame(bytes(6), bytes(6), source, destination, 6, body))
            first.settle(Deadline(60))
            second.settle(Deadline(60))
        assert (first.failure, second.failure, stations.timers.failure) == (None, None, None)
        assert stations.counters.bad_packets == 0
        for connection in stations.gateway.connections:
            assert len(connection.received) <= sum(len(segment.payload) for segment in sent)


@pytest.mark.parametrize("initial", [0, 0xFFFFFFFD], ids=["plain", "wrapping"])
@pytest.mark.parametrize(
    "parts",
    [
        [(0, b"abcd"), (2, b"cdef"), (6, b"gh")],
        [(4, b"efgh"), (2, b"cdef"), (0, b"abcd")],
        [(0, b"ab"), (0, b"abcd"), (6, b"gh"), (3, b"defg")],
    ],
    ids=["overlapping", "backwards", "grown retransmission"],
)
def test_overlapping_segments_are_joined_without_a_byte_twice(
    deadline: Deadline, initial: int, parts: list[tuple[int, bytes]]
) -> None:
    first, second = MemoryLink.pair()
    with first, second, Stations(first) as stations:
        listener = stations.gateway.tcp_listen(80)
        answers: list[TcpSegment] = []
        second.subscribe(
            lambda direction, frame, when: answers.append(parse_tcp(parse_ip(frame))), Direction.FROM_GUEST
        )
        source, destination = bytes((192, 0, 2, 2)), bytes((192, 0, 2, 1))

        def send(seq: int, flags: int, payload: bytes = b"") -> None:
            ack = answers[0].seq + 1 if answers else 0
            body = tcp_body(source, destination, (4000, 80), initial + seq, ack, flags, 65535, payload)
            second.send(ip_frame(bytes(6), bytes(6), source, destination, 6, body))
            first.settle(deadline)
            second.settle(deadline)

        send(0, SYN)
        send(9, ACK | FIN)  # the end comes first
        for offset, data in parts:
            send(1 + offset, ACK, data)
        connection = listener.wait_for_connection(deadline)
        assert connection.receive_all(deadline) == b"abcdefgh"
        assert answers[-1].ack == (initial + 10) & 0xFFFFFFFF
