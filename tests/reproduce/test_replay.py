"""A capture is played again: the guest gets and sends what it did, and departures are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network

import pytest

from harness.capture import Capture
from harness.errors import MachineLost
from harness.link import Direction, MemoryLink
from harness.link.headers import ACK, FIN, PSH, RST, SYN, IpPacket, TcpSegment, parse_ip, parse_tcp
from harness.reproduce import Departures, LinkAddresses, Replayed, Settings, player, replay
from harness.traffic import Stations, tcp_buffers
from harness.traffic.address import pack_address
from tests.reproduce.fake_guest import FakeGuest
from tests.reproduce.stories import GUEST, PEER, Story

ADDRESSES = LinkAddresses(
    pack_address("192.0.2.2"), pack_address("2001:db8::2"),
    (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")),
)  # fmt: skip
PATIENCE = 20.0


class Clock:
    """The player's: a test sets it ahead where nothing will come any more, and a busy host has all the time else."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@dataclass
class Stage:
    """A link with a guest at its other end, and every packet that crossed it."""

    link: MemoryLink
    stations: Stations
    guest: FakeGuest
    packets: list[tuple[Direction, IpPacket]]
    clock: Clock

    def play(self, capture: Capture, check: Callable[[], None] | None = None, **settings: object) -> Replayed:
        return replay(
            capture, link=self.link, stations=self.stations, guest=self.guest, addresses=ADDRESSES,
            settings=Settings(**{"guest_addresses": (GUEST,), "patience": PATIENCE} | settings), check=check,
        )  # fmt: skip

    def run_out_where(self, lost: list[bytes], channel: int) -> Callable[[], None]:
        """What to look at while the player waits: its patience is over once the guest waits there for what was lost."""

        def look() -> None:
            if lost and self.guest.waits == channel and not self.guest.channels[channel].skip:
                self.clock.ahead += PATIENCE

        return look

    def segments(self, direction: Direction = Direction.TO_GUEST) -> list[TcpSegment]:
        found = [parse_tcp(packet) for way, packet in self.packets if way is direction]
        return [segment for segment in found if segment is not None]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    # The guest sends nothing twice, however late it is acknowledged: what a test sees of it is what its script says.
    for name in ("_FIRST_RTO", "_MIN_RTO", "_MAX_RTO"):
        monkeypatch.setattr(tcp_buffers, name, 120.0)
    clock = Clock()
    monkeypatch.setattr(player, "time", clock)
    ours, theirs = MemoryLink.pair()
    packets: list[tuple[Direction, IpPacket]] = []

    def watch(direction: Direction, frame: bytes, _: float) -> None:
        packet = parse_ip(frame)
        if packet is not None:
            packets.append((direction, packet))

    ours.subscribe(watch)
    guest = FakeGuest(theirs)
    with Stations(ours) as stations:
        yield Stage(ours, stations, guest, packets, clock)
        guest.close()
    for end in (ours, theirs):
        end.close()
        assert end.failure is None
    assert not [packet.trouble for _, packet in packets if packet.trouble]


def texts(replayed: Replayed) -> list[str]:
    """What departed, but for acknowledgements: a host that is busy has more of them sent."""
    return [str(each) for each in replayed.departures if "More acknowledgements" not in each.text]


def test_a_connection_that_the_guest_opened_is_played_without_a_departure(stage: Stage) -> None:
    story = Story()
    story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"GET /").answer(b"x" * 5000).say(b"more").answer(b"end").close()
    replayed = stage.play(story.capture())
    assert texts(replayed) == []
    sent = stage.segments()
    assert b"".join(segment.payload for segment in sent) == b"x" * 5000 + b"end"
    assert [segment.seq for segment in sent[:2]] == [5000, 5001]
    assert b"".join(s.payload for s in stage.segments(Direction.FROM_GUEST)) == b"GET /more"
    assert replayed.figures.given_up == 0


def test_a_connection_to_the_guest_is_played_without_a_departure(stage: Stage) -> None:
    story = Story()
    story.tcp((PEER, 50001), (GUEST, 8080)).open().say(b"q" * 3000).answer(b"a" * 3000).close(by_client=False)
    replayed = stage.play(story.capture())
    assert texts(replayed) == []
    assert [(s.source_port, s.destination_port) for s in stage.segments()[:1]] == [(50001, 8080)]
    assert stage.guest.channels[0].connection or stage.guest.channels[1].connection


def test_ipv6_is_played_too(stage: Stage) -> None:
    story = Story()
    story.tcp(("2001:db8:1::5", 40000), ("2001:db8:2::7", 80)).open().say(b"six").answer(b"SIX").close()
    replayed = stage.play(story.capture(), guest_addresses=("2001:db8:1::5",))
    assert texts(replayed) == []
    assert {packet.source for way, packet in stage.packets if way is Direction.FROM_GUEST} == {ADDRESSES.guest6}


def test_udp_and_echo_are_played_by_packet(stage: Stage) -> None:
    story = Story()
    story.udp((GUEST, 5353), (PEER, 53), b"question")
    story.udp((PEER, 53), (GUEST, 5353), b"answer")
    story.udp((GUEST, 5353), (PEER, 53), b"thanks")
    story.icmp(PEER, GUEST, 8, 0, b"\0\7\0\1payload")
    story.icmp(GUEST, PEER, 0, 0, b"\0\7\0\1payload")
    replayed = stage.play(story.capture())
    assert texts(replayed) == []
    assert [(str(way), packet.payload) for way, packet in stage.packets] == [
        ("from-guest", b"question"), ("to-guest", b"answer"), ("from-guest", b"thanks"),
        ("to-guest", b"payload"), ("from-guest", b"payload"),
    ]  # fmt: skip


def test_the_order_across_conversations_is_kept(stage: Stage) -> None:
    story = Story()
    one = story.tcp((GUEST, 40000), (PEER, 80)).open()
    two = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    for turn in range(5):
        one.segment(False, PSH | ACK, b"one%d" % turn)
        two.segment(False, PSH | ACK, b"two%d" % turn)
        two.segment(True, PSH | ACK, b"TWO%d" % turn)
        one.segment(True, PSH | ACK, b"ONE%d" % turn)
    assert texts(stage.play(story.capture())) == []
    said = [packet.payload for _, packet in stage.packets if packet.payload]
    assert said == [word + b"%d" % turn for turn in range(5) for word in (b"one", b"two", b"TWO", b"ONE")]


def test_segments_of_the_capture_are_sent_as_they_were(stage: Stage) -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    talk.segment(True, ACK, b"bbb", ahead=3, moves=False)  # out of order
    talk.segment(True, ACK | PSH, b"aaabbb")
    talk.segment(True, ACK, b"abbb", back=4)  # again, over the end of what went before
    talk.segment(False, ACK)
    talk.segment(True, ACK | PSH, b"ccc")
    assert texts(stage.play(story.capture())) == []
    base = 0xFFFFFF01
    assert [(s.seq - base, s.payload) for s in stage.segments() if s.payload] == [
        (3, b"bbb"), (0, b"aaabbb"), (2, b"abbb"), (6, b"ccc"),
    ]  # fmt: skip
    channel = next(c for c in stage.guest.channels.values() if c.connection)
    assert channel.connection
    assert channel.connection.received == b"aaabbbccc"


def test_nothing_is_acknowledged_before_the_guest_has_sent_it(stage: Stage) -> None:
    """A capture of several queues has an acknowledgement ahead of its data."""
    story = Story()
    story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"data").answer(b"ok").close()
    packets = story.packets
    packets[3], packets[4] = replace(packets[4], number=4), replace(packets[3], number=5)
    assert texts(stage.play(story.capture())) == []
    next_of_guest = 0
    for way, packet in stage.packets:
        segment = parse_tcp(packet)
        assert segment
        if way is Direction.FROM_GUEST:
            step = len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
            next_of_guest = segment.seq + step & 0xFFFFFFFF
        elif segment.flags & ACK:
            assert segment.ack <= next_of_guest


def test_a_reset_that_overtakes_data_is_sent_before_them(stage: Stage) -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    talk.say(b"first")
    talk.segment(True, RST | ACK, ahead=4, moves=False)
    talk.segment(True, ACK | PSH, b"late")
    stage.play(story.capture())
    tail = [(bool(s.flags & RST), s.payload) for s in stage.segments()][-2:]
    assert tail == [(True, b""), (False, b"late")]


@pytest.mark.parametrize("by_client", [True, False])
def test_resets_of_either_side_are_played(stage: Stage, by_client: bool) -> None:
    story = Story()
    talk = story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"hello")
    talk.reset(by_client=by_client)
    assert texts(stage.play(story.capture())) == []
    way = Direction.FROM_GUEST if by_client else Direction.TO_GUEST
    assert any(s.flags & RST for s in stage.segments(way))


def test_a_reset_of_the_guest_comes_behind_all_that_it_sent(stage: Stage) -> None:
    """A socket that is reset throws away what its window did not let out yet."""
    story, data = Story(), bytes(range(256)) * 800
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open().say(b"all").answer(data)
    talk.reset(by_client=False)
    assert texts(stage.play(story.capture())) == []
    assert len({s.seq for s in stage.segments(Direction.FROM_GUEST) if s.payload}) * 1460 >= len(data) > 2 * 65535


def test_a_refused_connection_is_refused_again(stage: Stage) -> None:
    story = Story()
    knock = story.tcp((PEER, 50000), (GUEST, 81))
    knock.segment(True, SYN)
    knock.segment(False, RST | ACK)
    assert texts(stage.play(story.capture())) == []
    assert [bool(s.flags & RST) for s in stage.segments(Direction.FROM_GUEST)] == [True]


def test_a_connection_that_began_before_the_capture_gets_a_handshake(stage: Stage) -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 443))
    talk.say(b"in the middle").answer(b"yes").close()
    replayed = stage.play(story.capture())
    assert len(texts(replayed)) == 1
    assert "handshake of its own" in texts(replayed)[0]
    assert [s.flags & SYN for s in stage.segments()][:2] == [SYN, 0]
    assert b"".join(s.payload for s in stage.segments(Direction.FROM_GUEST)) == b"yes"


@pytest.mark.parametrize("kept", [GUEST, PEER])
def test_a_capture_of_one_side_alone_is_played_with_zeros(stage: Stage, kept: str) -> None:
    story = Story()
    story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"ask" * 10).answer(b"tell" * 10).say(b"x").close()
    one_side = story.capture()
    one_side = one_side.keeping([p.number for p in one_side.packets if p.ip and p.ip.source == pack_address(kept)])
    replayed = stage.play(one_side)
    assert any("they are zeros" in text for text in texts(replayed))
    sent = b"".join(s.payload for s in stage.segments())
    said = b"".join(s.payload for s in stage.segments(Direction.FROM_GUEST))
    asked, told = b"ask" * 10 + b"x", b"tell" * 10
    assert (said, sent) == ((asked, bytes(40)) if kept == GUEST else (bytes(31), told))
    assert replayed.figures.given_up == 0


def test_bytes_that_the_capture_lost_or_cut_are_zeros(stage: Stage) -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    talk.segment(True, ACK | PSH, b"whole")
    talk.segment(True, ACK | PSH, b"cut off", cut=4)
    talk.segment(True, ACK | PSH, b"lost")
    lost = len(story.packets)
    talk.segment(False, ACK)
    talk.segment(True, ACK | PSH, b"end")
    capture = story.capture()
    replayed = stage.play(capture.keeping(set(capture.numbers) - {lost}))
    channel = next(c for c in stage.guest.channels.values() if c.connection)
    assert channel.connection
    assert channel.connection.received == b"wholecut\0\0\0\0\0\0\0\0end"
    assert len(texts(replayed)) == 2


def test_segments_larger_than_the_mtu_are_cut_again_and_it_is_said(stage: Stage) -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    talk.say(b"j" * 20000, size=9000).answer(b"ok").close()
    replayed = stage.play(story.capture())
    assert texts(replayed) == ["Packets 4, 6, 8: It is more than the guest's MSS: segmented again."]
    assert max(len(s.payload) for s in stage.segments()) <= 1460
    assert b"".join(s.payload for s in stage.segments()) == b"j" * 20000


def test_a_datagram_larger_than_the_mtu_goes_in_fragments(stage: Stage) -> None:
    story = Story()
    story.udp((GUEST, 5353), (PEER, 53), b"q")
    story.udp((PEER, 53), (GUEST, 5353), b"d" * 4000)
    replayed = stage.play(story.capture())
    assert any("sent in fragments" in text for text in texts(replayed))
    assert sum(packet.fragment for _, packet in stage.packets) == 3


def test_hosts_on_the_guests_own_network_are_moved(stage: Stage) -> None:
    story = Story()
    story.tcp((GUEST, 40000), ("192.0.2.9", 80)).open().say(b"q").answer(b"a").close()
    replayed = stage.play(story.capture())
    assert texts(replayed) == ["The host 192.0.2.9 has the address 198.18.0.1, as its own cannot be used on the link."]


def test_what_the_guest_does_not_do_is_given_up_once_and_the_rest_goes_on(stage: Stage) -> None:
    """The guest's first connection is lost on its way out; the second is played to its end."""
    story = Story()
    story.tcp((GUEST, 40000), (PEER, 81)).open().say(b"never").answer(b"never").close()
    story.tcp((GUEST, 40001), (PEER, 80)).open().say(b"q").answer(b"a").close()

    lost: list[bytes] = []

    def drop(frame: bytes) -> Iterator[bytes]:
        packet = parse_ip(frame)
        if packet is None or packet.ports[1] != 81:
            yield frame
        else:
            lost.append(frame)

    stage.guest.link.misbehaviour = drop
    replayed = stage.play(story.capture(), stage.run_out_where(lost, 0))
    assert replayed.figures.given_up == 1
    assert texts(replayed) == [
        "Packet 1: The guest did not open the connection: the rest of tcp 10.0.0.5:40000 > 198.51.100.7:81 is left out."
    ]
    assert b"a" in [s.payload for s in stage.segments()]


def test_the_conversation_that_the_guest_stands_at_is_the_one_that_is_given_up(stage: Stage) -> None:
    """What the first connection brings is swallowed: not the second, which waits behind it, is to blame."""
    story = Story()
    first = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    first.segment(True, ACK | PSH, b"swallowed")
    story.tcp((GUEST, 40001), (PEER, 80)).open().say(b"q").answer(b"a").close()
    lost: list[bytes] = []

    def swallow(frame: bytes) -> Iterator[bytes]:
        if b"swallowed" in frame:
            lost.append(frame)
        else:
            yield frame

    stage.link.misbehaviour = swallow
    replayed = stage.play(story.capture(), stage.run_out_where(lost, 0))
    assert [text for text in texts(replayed) if "left out" in text] == [
        (
            "Packet 5: What came before it did not reach the guest's application: "
            "the rest of tcp 198.51.100.7:50000 > 10.0.0.5:8080 is left out."
        )
    ]
    assert b"a" in [s.payload for s in stage.segments()]


def test_a_guest_that_is_gone_ends_the_replay_at_once(stage: Stage) -> None:
    story = Story()
    story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"q").close()
    story.icmp(GUEST, PEER, 8, 0, bytes(4))  # which no application can send
    stage.guest.link.misbehaviour = lambda _: ()
    departures = Departures()

    before = time.monotonic()

    def gone() -> None:
        raise MachineLost("The guest is gone.")

    with pytest.raises(MachineLost):
        replay(
            story.capture(), link=stage.link, stations=stage.stations, guest=stage.guest, addresses=ADDRESSES,
            settings=Settings(guest_addresses=(GUEST,), patience=500.0), check=gone,
            departures=departures,
        )  # fmt: skip
    (departure,) = departures.all()  # known all the same
    assert departure.numbers == (len(story.packets),)
    [(moment, text)] = departure.at_moments()
    assert before <= moment <= time.monotonic()
    assert text == str(departure)


def test_lost_data_are_sent_again(stage: Stage) -> None:
    story = Story()
    story.tcp((PEER, 50000), (GUEST, 8080)).open().say(b"once lost").answer(b"ok").close()
    lost: list[bytes] = []

    def lose_once(frame: bytes) -> Iterator[bytes]:
        if b"once lost" in frame and not lost:
            lost.append(frame)
        else:
            yield frame

    def look() -> None:
        if lost and not stage.clock.ahead:
            stage.clock.ahead = PATIENCE / 3  # when they are sent again

    stage.link.misbehaviour = lose_once
    assert texts(stage.play(story.capture(), look)) == []


def test_other_bytes_from_the_guest_are_told(stage: Stage) -> None:
    story = Story()
    story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"what it said").answer(b"a").close()
    load: Callable[[bytes], object] = stage.guest.load
    stage.guest.load = lambda script: load(script.replace(b"what it said", b"what it SAID"))  # type: ignore[method-assign,assignment,return-value]
    replayed = stage.play(story.capture())
    assert texts(replayed) == [
        f"Packet 1: The guest sent other bytes than the capture has in tcp {GUEST}:40000 > {PEER}:80."
    ]


def test_an_icmp_error_quotes_the_live_connection(stage: Stage) -> None:
    story = Story()
    talk = story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"q")
    quoted = story.packets[3].data[:28]
    story.icmp("203.0.113.1", GUEST, 3, 1, bytes(4) + quoted)
    talk.answer(b"a").close()
    assert texts(stage.play(story.capture())) == []
    live = next(s.seq for s in stage.segments(Direction.FROM_GUEST) if s.payload == b"q")
    error = next(packet for way, packet in stage.packets if packet.protocol == 1 and way is Direction.TO_GUEST)
    assert error.body[8 + 12 : 8 + 20] == pack_address("192.0.2.2") + pack_address(PEER)
    assert int.from_bytes(error.body[8 + 24 : 8 + 28], "big") == live


def test_an_icmpv6_error_quotes_the_live_connection(stage: Stage) -> None:
    guest, peer, router = "2001:db8:1::5", "2001:db8:2::7", "2001:db8:3::1"
    story = Story()
    talk = story.tcp((guest, 40000), (peer, 80)).open().say(b"q")
    story.icmp(router, guest, 1, 0, bytes(4) + story.packets[3].data[:60])
    talk.answer(b"a").close()
    assert texts(stage.play(story.capture(), guest_addresses=(guest,))) == []
    live = next(s.seq for s in stage.segments(Direction.FROM_GUEST) if s.payload == b"q")
    (error,) = [p for way, p in stage.packets if p.protocol == 58 and p.body[0] == 1 and way is Direction.TO_GUEST]
    assert error.body[8 + 8 : 8 + 40] == ADDRESSES.guest6 + pack_address(peer)
    assert int.from_bytes(error.body[8 + 44 : 8 + 48], "big") == live


def test_ports_used_again_are_connections_of_their_own(stage: Stage) -> None:
    story = Story()
    for turn in range(3):
        story.tcp((PEER, 50000), (GUEST, 8080), client_seq=turn * 90000).open().say(b"turn%d" % turn).close()
    assert texts(stage.play(story.capture())) == []
    assert [s.payload for s in stage.segments() if s.payload] == [b"turn0", b"turn1", b"turn2"]


def test_the_captures_timing_is_kept_on_request(stage: Stage) -> None:
    story = Story()
    story.udp((PEER, 53), (GUEST, 5353), b"one")
    story.now += 300_000_000
    story.udp((PEER, 53), (GUEST, 5353), b"two")
    from harness.reproduce import Timing

    replayed = stage.play(story.capture(), timing=Timing.CAPTURE)
    assert replayed.figures.seconds >= 0.3
