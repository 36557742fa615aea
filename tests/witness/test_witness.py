"""The witness: the capture is what Wireshark and Scapy can read, the answers are what crossed the link."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.utils import RawPcapNgReader

from harness.errors import ExpectationFailed, HostError, UsageError
from harness.expect import expect
from harness.link import Direction, MemoryLink
from harness.steps import step
from harness.traffic import frames
from harness.waiting import Deadline
from harness.witness import Witness

SYN = frames.tcp("198.51.100.5", "192.0.2.2", 4000, 80)
REPLY = frames.tcp("192.0.2.2", "198.51.100.5", 80, 4000, flags="SA")
DATA = frames.tcp("192.0.2.2", "198.51.100.5", 80, 4000, b"GET / HTTP", flags="PA")
SIX = frames.udp("2001:db8::2", "2001:db8::5", 53, 54, b"six")
BAD = frames.udp("192.0.2.2", "203.0.113.1", 53, 54, b"bad", checksum=1)
RUNT = b"runt"


class Wire:
    """A witness on a link, and how to make frames pass in both directions."""

    def __init__(self, path: Path) -> None:
        self.link, self.guest = MemoryLink.pair()
        self.witness = Witness(self.link, path)

    def from_guest(self, *sent: bytes) -> None:
        self.guest.send_all(sent)
        self.link.settle(Deadline(30))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path / "deep" / "frames.pcapng")
    with wire.link, wire.guest, wire.witness:
        yield wire
        assert wire.link.failure is None


def test_the_capture_is_read_back_by_scapy_with_comments_and_directions(wire: Wire) -> None:
    wire.link.send(SYN)
    with step("a redirect > is tried"), step("client connects"):
        wire.from_guest(REPLY, RUNT)
    wire.link.send(BAD)
    wire.witness.close()

    with RawPcapNgReader(str(wire.witness.path)) as reader:
        read = list(reader)
    assert [raw for raw, _ in read] == [SYN, REPLY, RUNT, BAD]
    comments = [[comment.decode() for comment in meta.comments] for _, meta in read]
    assert comments[:3] == [
        ["to-guest"],
        ["from-guest: a redirect > is tried > client connects"],
        ["from-guest: a redirect > is tried > client connects"],
    ]
    assert "The UDP checksum is 0x0001, should be" in comments[3][0]
    assert [meta.direction for _, meta in read] == [2, 1, 1, 2]
    frames = wire.witness.frames()
    times = [((meta.tshigh << 32) + meta.tslow) / meta.tsresol for _, meta in read]
    assert times[3] - times[0] == pytest.approx(frames[3].time - frames[0].time, abs=1e-5)


def test_the_comment_of_a_step_that_ended_is_not_given_to_later_frames(wire: Wire) -> None:
    with step("outer"):
        with step("inner"):
            pass
        wire.from_guest(SYN)
    wire.from_guest(SYN)
    assert [frame.comment for frame in wire.witness.frames()] == ["from-guest: outer", "from-guest"]


def test_questions(wire: Wire) -> None:
    wire.link.send(SYN)
    wire.from_guest(REPLY, DATA, SIX, BAD, RUNT)
    ask = lambda **wanted: [frame.raw for frame in wire.witness.select(**wanted)]  # noqa: E731

    assert ask() == [SYN, REPLY, DATA, SIX, BAD, RUNT]
    assert ask(proto="tcp") == [SYN, REPLY, DATA]
    assert ask(dst="198.51.100.5") == [REPLY, DATA]
    assert ask(dst="198.51.100.5:4000", flags="S") == [REPLY]
    assert ask(dst="198.51.100.5:4001") == []
    assert ask(flags="S!A") == [SYN]
    assert ask(src="[2001:db8::2]:53") == ask(src="2001:db8::2") == [SIX]
    assert ask(sport=53) == [SIX, BAD]
    assert ask(payload=b"/ HTTP") == [DATA]
    assert ask(direction="to-guest") == [SYN]
    assert ask(direction="from-guest", proto="ethertype-0x0000") == []
    assert [frame.raw for frame in wire.witness.troubled()] == [BAD]
    assert wire.witness.flows()["tcp", "192.0.2.2", 80, "198.51.100.5", 4000] == 2


def test_marks_cut_off_what_came_before(wire: Wire) -> None:
    wire.from_guest(REPLY, BAD)
    mark = wire.witness.mark()
    assert wire.witness.select(since=mark) == wire.witness.frames(since=mark) == []
    wire.from_guest(DATA)
    assert [frame.number for frame in wire.witness.select(proto="tcp", since=mark)] == [3]
    assert wire.witness.troubled(since=mark) == []


def test_a_question_is_seen_before_its_answer(tmp_path: Path) -> None:
    """Whoever came first: the stations answer before the next listener is told of the question."""
    first, second = MemoryLink.pair()
    first.subscribe(lambda direction, frame, when: first.post(REPLY), Direction.FROM_GUEST)
    with first, second, Witness(first, tmp_path / "frames.pcapng") as witness:
        second.send(SYN)
        first.settle(Deadline(30))
        assert [frame.raw for frame in witness.frames()] == [SYN, REPLY]


def test_a_frame_tells_of_itself(wire: Wire) -> None:
    wire.from_guest(DATA, RUNT, SIX)
    data, runt, six = wire.witness.frames()
    assert str(data) == "#1 from-guest tcp 192.0.2.2:80 > 198.51.100.5:4000 [PA] 10 bytes of payload"
    assert data.packet[TCP].dport == 4000
    assert str(runt) == "#2 from-guest ethertype-0x0000, 4 bytes"
    assert str(six) == "#3 from-guest udp [2001:db8::2]:53 > [2001:db8::5]:54 3 bytes of payload"


def test_answers_are_given_after_the_end(wire: Wire) -> None:
    wire.from_guest(DATA)
    wire.witness.close()
    wire.witness.close()
    wire.from_guest(DATA)
    assert [frame.raw for frame in wire.witness.frames()] == [DATA]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"direction": "up"}, "'up' is no direction"), ({"dst": "192.0.2.2:http"}, "is no address with a port")],
)
def test_a_wrong_question_is_told_rather_than_answered_with_nothing(
    wire: Wire, wanted: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        wire.witness.select(**wanted)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    first, second = MemoryLink.pair()
    with first, second, pytest.raises(HostError, match="cannot be written: "):
        Witness(first, tmp_path / "file" / "frames.pcapng")


def test_a_closed_witness_goes_with_the_last_who_knows_it(tmp_path: Path) -> None:
    """Its capture's descriptor goes with it: of hundreds of scenarios none may wait for a collection of garbage."""
    link, _ = MemoryLink.pair()
    gc.disable()
    try:
        witness = Witness(link, tmp_path / "frames.pcapng")
        witness.close()
        gone = weakref.ref(witness)
        del witness
        assert gone() is None
    finally:
        gc.enable()


def test_frames_of_the_second_link_are_told_from_those_of_the_first(tmp_path: Path) -> None:
    link, guest = MemoryLink.pair()
    with link, guest, Witness(link, tmp_path / "far-frames.pcapng", far=True) as witness:
        link.send(SYN)

        with pytest.raises(ExpectationFailed) as failure:
            expect(witness).none(proto="tcp")
        with RawPcapNgReader(str(witness.path)) as reader:
            list(reader)
            assert [interface[2]["name"] for interface in reader.interfaces] == [b"test1"]
    assert "expect(far.witness).none: " in str(failure.value)
    assert "saw 1: far frame 1 to-guest tcp 198.51.100.5:4000 > 192.0.2.2:80 [S]" in str(failure.value)
