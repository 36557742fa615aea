"""What an impaired wire does to frames."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from harness.errors import UsageError
from harness.link import Clock, Direction, Impairment, Kind, StreamLink, TooBig, Wire
from harness.link.framing import FrameDecoder, encode_frame
from harness.link.headers import parse_ip
from harness.link.impairment import EVERYTHING, kind_of
from harness.link.wire import _MOST_HELD, Passage, Spared
from harness.traffic import frames
from harness.waiting import Deadline, wait_for


def segment(number: int, flags: str = "A", payload: bytes = b"") -> bytes:
    return frames.tcp("198.51.100.5", "192.0.2.2", 80, 49152, payload, flags=flags, seq=number)


def datagram(number: int, size: int = 10) -> bytes:
    return frames.udp("198.51.100.5", "192.0.2.2", 53, 4000, bytes([number % 256]) * size)


def run(impairment: Impairment, sent: list[bytes], *, flush: bool = True, now: float = 0.0) -> list[Passage]:
    wire = Wire(impairment)
    passages = [passage for frame in sent for passage in wire.carry(frame, now)]
    return passages + (wire.flush("end") if flush else [])


def arrived(passages: list[Passage]) -> list[bytes]:
    return [passage.frame for passage in passages if not passage.lost and not passage.back]


SENT = [segment(number) for number in range(200)]


def test_the_same_seed_does_the_same_again_and_another_seed_does_not() -> None:
    first, again, other = (
        run(Impairment(seed=seed, lose=0.1, repeat=0.1, reorder=0.2, corrupt=0.1), SENT) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_what_is_lost_does_not_hang_on_what_else_is_asked_for() -> None:
    alone = run(Impairment(seed=5, lose=0.1), SENT)
    beside = run(Impairment(seed=5, lose=0.1, repeat=0.3, reorder=0.3, depth=4, corrupt=0.2, bits=9), SENT)

    lost = [passage.frame for passage in alone if passage.lost]
    assert lost == [passage.frame for passage in beside if passage.lost]
    assert 5 < len(lost) < 40


def test_what_it_counts_is_what_happened_and_what_it_says() -> None:
    wire = Wire(Impairment(seed=3, lose=0.1, repeat=0.1, reorder=0.2))
    passages = [passage for frame in SENT for passage in wire.carry(frame, 0.0)] + wire.flush("end")
    came = arrived(passages)
    times = Counter(came)

    assert wire.counters.meant == wire.counters.seen == 200
    assert sum(frame not in times for frame in SENT) == wire.counters.lost > 0
    assert sum(count == 2 for count in times.values()) == wire.counters.repeated > 0
    assert sum("repeated" in passage.fate for passage in passages) == wire.counters.repeated
    places = [SENT.index(frame) for frame in came]
    overtaken = sum(any(earlier > place for earlier in places[:at]) for at, place in enumerate(places))
    assert overtaken == wire.counters.reordered > 0
    assert sum("overtaken by" in passage.fate for passage in passages) == overtaken


def test_numbers_choose_single_frames() -> None:
    passages = run(Impairment(lose=(2,), repeat=(3,), reorder=(4,)), SENT[:6])

    assert [(SENT.index(p.frame), p.lost) for p in passages] == [
        (0, False), (1, True), (2, False), (2, False), (4, False), (3, False), (5, False),
    ]  # fmt: skip
    assert [p.fate for p in passages if p.fate] == [
        "lost",
        "repeated",
        "overtaken by 1, held back for 1 frames",
    ]


def test_handshakes_resolutions_and_resets_pass_unless_asked_for() -> None:
    resolution = bytes(Ether() / ARP())
    spared = [segment(1, "S"), segment(2, "SA"), segment(3, "RA"), resolution, datagram(1)]

    assert arrived(run(Impairment(lose=1.0, of=(Kind.TCP,)), spared)) == spared
    assert arrived(run(Impairment(lose=1.0), spared)) == spared[:-1]
    assert arrived(run(Impairment(lose=1.0, of=EVERYTHING), spared)) == []
    assert [kind_of(frame) for frame in (*spared, b"runt")] == ["syn", "syn", "rst", "arp", "udp", "other"]


def test_a_held_frame_waits_for_as_many_later_ones_of_any_kind() -> None:
    sent = [datagram(0), segment(1), segment(2, "S"), segment(3)]

    passages = run(Impairment(hold=3, of=(Kind.UDP,)), sent, flush=False)

    assert arrived(passages) == [sent[1], sent[2], sent[3], sent[0]]
    assert passages[-1].fate == "overtaken by 3, held back for 3 frames"


def test_the_frames_clock_moves_by_what_frames_take() -> None:
    # 1000 bytes at 8000 bit/s take a second each; a delay of 2.5 s is two and a half of them.
    sent = [bytes(12) + b"\x88\xb5" + bytes([number]) * 986 for number in range(8)]

    passages = run(Impairment(delay=2.5, rate=8000.0), sent, flush=False)

    assert arrived(passages) == sent[:6]
    assert {passage.fate for passage in passages} == {"held back for 2 frames"}
    assert passages == run(Impairment(delay=2.5, rate=8000.0), sent, flush=False, now=77.0)


def test_the_hosts_clock_delays_and_limits_the_rate() -> None:
    wire = Wire(Impairment(delay=0.5, rate=80_000.0, clock=Clock.HOST, queue=2))
    sent = [bytes(12) + b"\x88\xb5" + bytes([number]) * 986 for number in range(3)]

    entered = [wire.carry(frame, 10.0) for frame in sent]
    assert [len(passages) for passages in entered] == [0, 0, 1]  # the third finds two waiting
    assert entered[2][0].fate == "lost: 2 frames waited before it"
    assert wire.due == pytest.approx(10.6)
    assert wire.release(10.59) == []
    first = wire.release(10.65)
    assert [p.frame for p in first] == sent[:1]
    assert first[0].fate == "held back for 2 frames and 650.0 ms"
    assert wire.due == pytest.approx(10.7)
    assert [p.frame for p in wire.release(11.0)] == sent[1:2]
    assert wire.due is None


@given(
    seed=st.integers(0, 1 << 32), lose=st.floats(0, 1), repeat=st.floats(0, 1), reorder=st.floats(0, 1),
    depth=st.integers(1, 5), hold=st.integers(0, 3),
)  # fmt: skip
def test_nothing_is_made_of_nothing(
    seed: int, lose: float, repeat: float, reorder: float, depth: int, hold: int
) -> None:
    wire = Wire(Impairment(seed=seed, lose=lose, repeat=repeat, reorder=reorder, depth=depth, hold=hold))
    passages = [passage for frame in SENT[:50] for passage in wire.carry(frame, 0.0)] + wire.flush("end")

    times = Counter(p.frame for p in passages)
    assert set(times) == set(SENT[:50])
    assert sum(times.values()) == 50 + wire.counters.repeated
    assert wire.flush("again") == []


def test_a_fence_passes_behind_all_that_was_held() -> None:
    spared = Spared()
    wire = Wire(Impairment(lose=(2,), hold=100, delay=9.0, rate=9.0), spared)
    fence = frames.ip("192.0.2.1", "192.0.2.2", ICMP(type=8) / Raw(b"the token"))

    with spared.let_pass(b"the token"):
        passages = [p for frame in (*SENT[:3], bytes(fence)) for p in wire.carry(frame, 0.0)]
    assert [p.frame for p in passages if not p.lost] == [SENT[0], SENT[2], bytes(fence)]
    assert passages[1].fate.endswith("let go before a fence")
    assert passages[-1].fate == ""
    assert wire.carry(bytes(fence), 0.0) == []  # the block has ended


def test_a_link_that_is_down_loses_all_but_a_fence() -> None:
    spared = Spared()
    wire = Wire(Impairment(down=True, of=()), spared)

    with spared.let_pass(b"token"):
        passages = [*wire.carry(bytes(Ether() / ARP()), 0.0), *wire.carry(b"a token", 0.0)]
    assert [(p.lost, p.fate) for p in passages] == [(True, "lost: the link is down"), (False, "")]


@pytest.mark.parametrize("count", [1, 3])
def test_flipped_bits_are_named_and_the_checksum_tells(count: int) -> None:
    sent = [segment(number, payload=b"x" * 100) for number in range(50)]

    passages = run(Impairment(seed=1, corrupt=1.0, bits=count), sent)

    for before, passage in zip(sent, passages, strict=True):
        bits = [int(word) for word in passage.fate.removeprefix("bits ").removesuffix(" flipped").split(", ")]
        difference = int.from_bytes(before, "big") ^ int.from_bytes(passage.frame, "big")
        assert difference == sum(1 << (len(before) * 8 - 1 - bit) for bit in bits)
        assert len(bits) == count
        assert min(bits) >= 14 * 8
        packet = parse_ip(passage.frame)
        assert count > 1 or packet is None or packet.trouble is not None  # three may cancel each other out


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", [UDP, TCP])
def test_a_mended_checksum_hides_the_damage(kind: type, version: int) -> None:
    ends = ("198.51.100.5", "192.0.2.2") if version == 4 else ("2001:db8:99::5", "2001:db8::2")
    payload = bytes(range(101))
    head = kind(sport=5, dport=6, **({"flags": "A"} if kind is TCP else {}))
    frame = bytes(frames.ip(*ends, head / Raw(payload)))

    for seed in range(20):
        [passage] = run(Impairment(seed=seed, corrupt=(1,), bits=2, mend=True), [frame])
        packet = parse_ip(passage.frame)
        assert packet is not None
        assert packet.trouble is None
        assert packet.ports == (5, 6)
        assert sum((a ^ b).bit_count() for a, b in zip(packet.payload, payload, strict=True)) == 2
        assert passage.fate.endswith("flipped, checksum mended")


def test_what_has_no_payload_is_not_damaged_where_it_is_to_be_mended() -> None:
    assert run(Impairment(corrupt=1.0, mend=True), [segment(1)]) == [Passage(segment(1))]


def test_ipv4_that_may_not_be_cut_is_answered_as_a_router_does() -> None:
    big = bytes(frames.ip("192.0.2.2", "198.51.100.5", UDP(sport=9, dport=10) / Raw(b"z" * 1300), flags="DF", id=7))

    lost, answer = run(Impairment(mtu=1280), [big])

    assert lost.lost
    assert lost.fate == "lost: 1328 bytes are more than the MTU of 1280"
    assert answer.back
    told = Ether(answer.frame)
    assert (told.src, told.dst) == (Ether(big).dst, Ether(big).src)
    assert (told[IP].src, told[IP].dst) == ("192.0.2.1", "192.0.2.2")
    assert (told[ICMP].type, told[ICMP].code, told[ICMP].nexthopmtu) == (3, 4, 1280)
    assert bytes(told[ICMP].payload) == big[14 : 14 + 28]
    packet = parse_ip(answer.frame)
    assert packet is not None
    assert packet.trouble is None


def test_ipv4_that_may_be_cut_goes_on_in_fragments() -> None:
    sent = frames.ip("192.0.2.2", "198.51.100.5", UDP(sport=9, dport=10) / Raw(bytes(range(250)) * 8), id=7)

    passages = run(Impairment(mtu=600), [bytes(sent)])
    pieces = [Ether(frame)[IP] for frame in arrived(passages)]

    assert passages[0].lost
    assert [piece.flags.MF for piece in pieces] == [True, True, True, False]
    assert b"".join(bytes(piece.payload) for piece in pieces) == bytes(sent[IP].payload)
    assert [piece.frag * 8 for piece in pieces] == [0, 576, 1152, 1728]
    assert all(len(piece) <= 600 for piece in pieces)
    assert all(parse_ip(frame).trouble is None for frame in arrived(passages))
    # A fragment of a fragment keeps its place.
    again = [Ether(frame)[IP] for frame in arrived(run(Impairment(mtu=300), arrived(passages)))]
    assert [piece.frag for piece in again] == sorted({piece.frag for piece in again})
    assert b"".join(bytes(piece.payload) for piece in again) == bytes(sent[IP].payload)
    assert [piece.flags.MF for piece in again] == [True] * (len(again) - 1) + [False]


def test_ipv6_is_answered_and_errors_are_not() -> None:
    big = frames.ip("2001:db8::2", "2001:db8:99::5", UDP(sport=9, dport=10) / Raw(b"z" * 1400))
    error = frames.ip("192.0.2.2", "198.51.100.5", ICMP(type=3, code=3) / Raw(b"z" * 1400), flags="DF")

    lost, answer = run(Impairment(mtu=1280), [bytes(big)])
    told = Ether(answer.frame)
    assert lost.lost
    assert (told[IPv6].src, told[IPv6].dst) == ("2001:db8::1", "2001:db8::2")
    assert told[ICMPv6PacketTooBig].mtu == 1280
    assert len(answer.frame) == 14 + 1280
    packet = parse_ip(answer.frame)
    assert packet is not None
    assert packet.trouble is None
    assert [p.lost for p in run(Impairment(mtu=1280), [bytes(error)])] == [True]
    assert [p.lost for p in run(Impairment(mtu=1280, too_big=TooBig.DROP), [bytes(big)])] == [True]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"lose": 2}, "'lose' is 2;"), ({"lose": (0,)}, r"'lose' is \(0,\)"), ({"corrupt": "all"}, "'corrupt'"),
        ({"of": ("tcq",)}, "'of' has 'tcq'"), ({"clock": "mine"}, "'clock' has 'mine'"), ({"bits": 65}, "'bits' is 65"),
        ({"mtu": 60}, "'mtu' is 60"), ({"delay": 1.0}, "need each other"), ({"rate": 8.0}, "need each other"),
        ({"depth": 0}, "'depth' is 0"), ({"clock": "host", "jitter": 1.0}, "'jitter' is 1.0"), ({"queue": 3}, "queue"),
        ({"routers": ("::1", "127.0.0.1")}, "'routers'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Impairment(**wrong)


@given(st.lists(st.binary(max_size=120), max_size=30), st.integers(0, 1000))
def test_no_frame_breaks_the_wire(sent: list[bytes], seed: int) -> None:
    worst = Impairment(
        seed=seed, of=EVERYTHING, lose=0.2, repeat=0.2, reorder=0.2, depth=3, hold=1, corrupt=0.5, bits=5, mtu=68,
        delay=1.0, jitter=1.0, rate=1e5, mend=bool(seed & 1),
    )  # fmt: skip
    for head in (b"", bytes(12) + b"\x08\x00\x45", bytes(12) + b"\x86\xdd\x60"):
        run(worst, [head + frame for frame in sent])


# The link.


@pytest.fixture
def peer() -> Iterator[tuple[StreamLink, socket.socket]]:
    with StreamLink.listen() as link, socket.create_connection(("127.0.0.1", link.port)) as peer:
        link.accept(Deadline(60))
        peer.settimeout(60)
        yield link, peer


class Told:
    """All that an observer of a link is told."""

    def __init__(self, link: StreamLink) -> None:
        self.frames: list[tuple[Direction, bytes, str]] = []
        link.observe(lambda way, frame, when, fate: self.frames.append((way, frame, fate)))

    def wait(self, count: int) -> list[tuple[Direction, bytes, str]]:
        return wait_for(lambda: self.frames if len(self.frames) >= count else None, Deadline(60), "frames", 0.001)


def read(peer: socket.socket, count: int) -> list[bytes]:
    decoder, found = FrameDecoder(), []
    while len(found) < count:
        found += decoder.feed(peer.recv(1 << 16))
    return found


def test_a_stream_link_is_impaired_both_ways_until_it_is_not(peer: tuple[StreamLink, socket.socket]) -> None:
    link, guest = peer
    told = Told(link)
    seen: list[tuple[Direction, bytes]] = []
    link.subscribe(lambda way, frame, when: seen.append((way, frame)))
    wires = link.impair(Impairment(lose=(1,), of=(Kind.TCP,)), Impairment(repeat=(1,)))

    link.send_all([segment(1), b"not tcp"])
    guest.sendall(encode_frame(segment(2)))
    told.wait(4)
    wait_for(lambda: len(seen) == 3 or None, Deadline(60), "subscribers, whose turn is behind the observers'", 0.001)
    assert link.impair() == {}
    link.send(segment(3))

    assert read(guest, 2) == [b"not tcp", segment(3)]
    assert told.frames == [
        (Direction.TO_GUEST, segment(1), "lost"),
        (Direction.TO_GUEST, b"not tcp", ""),
        (Direction.FROM_GUEST, segment(2), ""),
        (Direction.FROM_GUEST, segment(2), "repeated"),
        (Direction.TO_GUEST, segment(3), ""),
    ]
    assert seen == [(way, frame) for way, frame, fate in told.frames if fate != "lost"]
    assert (wires[Direction.TO_GUEST].counters.lost, wires[Direction.FROM_GUEST].counters.repeated) == (1, 1)


def test_what_is_held_goes_on_when_the_impairment_ends_and_before_what_follows(
    peer: tuple[StreamLink, socket.socket],
) -> None:
    link, guest = peer
    told = Told(link)
    link.impair(Impairment(hold=9), Impairment(hold=9))

    link.send(datagram(1))
    guest.sendall(encode_frame(datagram(2)))
    guest.sendall(encode_frame(segment(2, "S")))  # is not meant, and shows that the one before has come
    told.wait(1)
    link.impair()
    link.send(datagram(3))
    guest.sendall(encode_frame(datagram(4)))

    assert read(guest, 2) == [datagram(1), datagram(3)]
    told.wait(5)
    assert [frame for way, frame, _ in told.frames if way is Direction.FROM_GUEST] == [
        segment(2, "S"), datagram(2), datagram(4),
    ]  # fmt: skip


def test_a_real_delay_ends_by_itself(peer: tuple[StreamLink, socket.socket]) -> None:
    link, guest = peer
    told = Told(link)
    link.impair(Impairment(delay=0.03, clock=Clock.HOST), Impairment(delay=0.02, clock=Clock.HOST))

    link.send_all([datagram(1), datagram(2)])
    guest.sendall(encode_frame(datagram(3)))

    assert read(guest, 2) == [datagram(1), datagram(2)]
    told.wait(3)
    assert all("held back" in fate for _, _, fate in told.frames)


def test_the_answer_to_what_is_too_big_goes_back_to_either_side(peer: tuple[StreamLink, socket.socket]) -> None:
    link, guest = peer
    told = Told(link)
    link.impair(Impairment(mtu=600, lose=1.0), Impairment(mtu=600))
    there = bytes(frames.ip("198.51.100.5", "192.0.2.2", UDP() / Raw(bytes(700)), flags="DF"))
    back = bytes(frames.ip("192.0.2.2", "198.51.100.5", UDP() / Raw(bytes(700)), flags="DF"))

    link.send(there)
    told.wait(2)
    guest.sendall(encode_frame(back))
    [answer] = read(guest, 1)

    assert Ether(answer)[IP].dst == "192.0.2.2"
    assert [(str(way), fate.partition(":")[0]) for way, _, fate in told.wait(4)] == [
        ("to-guest", "lost"), ("from-guest", "made by the wire"),
        ("from-guest", "lost"), ("to-guest", "made by the wire"),
    ]  # fmt: skip
    assert Ether(told.frames[1][1])[IP].dst == "198.51.100.5"


def test_a_drain_throws_away_what_a_wire_holds(peer: tuple[StreamLink, socket.socket]) -> None:
    link, guest = peer
    link.impair(Impairment(hold=9))
    link.send(datagram(1))

    assert link.drain(Deadline(60)) == 1
    link.impair()
    link.send(datagram(2))
    assert read(guest, 1) == [datagram(2)]


@pytest.mark.parametrize("impairment", [Impairment(hold=1 << 20), Impairment(delay=60.0, clock=Clock.HOST)])
def test_a_guest_that_floods_a_slow_wire_fills_no_memory(impairment: Impairment) -> None:
    """Whatever is asked for, so many frames are held and no more; the others are lost, and said to be."""
    wire, sent = Wire(impairment), [datagram(number) for number in range(256)]

    passages = [passage for number in range(_MOST_HELD + 3) for passage in wire.carry(sent[number % 256], 0.0)]

    assert [passage.fate for passage in passages] == [f"lost: {_MOST_HELD} frames waited before it"] * 3
    assert all(passage.lost for passage in passages)
    assert len(wire.flush("end")) == _MOST_HELD
    assert wire.counters.lost == 3
