"""A plan is made of any capture, or refused in a sentence; nothing in a packet is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.capture import Capture
from harness.errors import CaptureError, UsageError
from harness.link.headers import ACK, PSH, RST, SYN
from harness.reproduce import LinkAddresses, Settings, foresee, plan_for
from harness.reproduce.departures import Departures
from harness.traffic.address import pack_address
from tests.reproduce.stories import GUEST, PEER, Story

LINK = LinkAddresses(pack_address("192.0.2.2"), pack_address("2001:db8::2"), ())
ASKED = Settings(guest_addresses=(GUEST,))


def script_of(story: Story) -> list[str]:
    plan, _, _ = plan_for(story.capture(), LINK, ASKED, Departures())
    return plan.script.encode().decode("latin-1").partition("\nend\n")[0].splitlines()[1:]


def told(story: Story) -> list[str]:
    return [str(departure) for departure in foresee(story.capture(), ASKED)]


def varied() -> Capture:
    story = Story()
    talk = story.tcp((GUEST, 40000), (PEER, 80)).open().say(b"question").answer(b"answer" * 500)
    story.udp((PEER, 53), (GUEST, 5353), b"datagram")
    story.udp((GUEST, 5353), (PEER, 53), b"datagram")
    story.icmp(PEER, GUEST, 3, 3, bytes(4) + story.packets[0].data[:28])
    story.icmp(PEER, GUEST, 8, 0, b"\0\1\0\1echo")
    talk.segment(False, PSH | ACK, b"late", ahead=4, moves=False)
    talk.close()
    story.tcp((PEER, 40000), (GUEST, 8080)).say(b"begun before").reset(by_client=True)
    story.tcp(("2001:db8::5", 1), ("2001:db8::6", 2)).open()
    return story.capture()


VARIED = varied()


@settings(max_examples=300)
@given(st.data())
def test_packets_of_anything_give_a_plan_or_a_sentence(data: st.DataObject) -> None:
    packets = []
    for number, packet in enumerate(data.draw(st.lists(st.sampled_from(VARIED.packets), max_size=25)), 1):
        damaged = bytearray(packet.data)
        for at in data.draw(st.lists(st.integers(0, min(len(damaged) - 1, 60)), max_size=3)):
            damaged[at] = data.draw(st.integers(0, 255))
        whole = bytes(damaged[: data.draw(st.integers(20, len(damaged)))])
        length = data.draw(st.sampled_from([len(whole), packet.length, 65535]))
        packets.append(replace(packet, number=number, data=whole, length=max(length, len(whole))))
    try:
        plan, _, _ = plan_for(Capture(tuple(packets)), LINK, ASKED, Departures())
    except (CaptureError, UsageError):
        return
    assert plan.actions
    assert plan.script.encode().startswith(b"wfp-replay 2 ")


def test_the_guest_waits_for_all_that_came_before_its_step() -> None:
    story = Story()
    one = story.tcp((GUEST, 40000), (PEER, 80)).open()
    two = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    one.segment(False, PSH | ACK, b"from the first")
    two.segment(True, PSH | ACK, b"from the second")
    two.segment(False, PSH | ACK, b"answer")
    assert script_of(story) == [
        "listen 2 192.0.2.2:8080",
        "go",
        f"connect 1 0 0 192.0.2.2:40000 {PEER}:80",
        f"accept 9 0 1 2 {PEER}:50000",
        f"got 9 0 1 {len('from the second')}",
        f"got 9 0 0 {len('from the first')}",
        "send 9 8000 1 0 6",
    ]


def test_nobody_waits_for_a_connection_whose_handshake_has_not_ended() -> None:
    story = Story()
    slow = story.tcp((PEER, 50000), (GUEST, 8080))
    slow.segment(True, SYN)
    slow.segment(False, SYN | ACK)
    story.udp((GUEST, 5353), (PEER, 53), b"meanwhile")
    slow.segment(True, ACK)
    slow.answer(b"hello")
    verbs = [line.split()[0] for line in script_of(story) if line.split()[0] in {"accept", "sendto", "send"}]
    assert verbs == ["sendto", "accept", "send"]


def test_nobody_accepts_a_connection_that_is_reset_before_anybody_has_to() -> None:
    story = Story()
    story.tcp((PEER, 50000), (GUEST, 8080)).open().say(b"reset me").reset(by_client=True)
    story.udp((GUEST, 5353), (PEER, 53), b"on")
    assert [line.split()[0] for line in script_of(story)][-2:] == ["go", "sendto"]


def test_full_segments_that_follow_each_other_are_one_write_of_the_application() -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open().say(b"q")
    talk.answer(b"a" * 4000).answer(b"b" * 100)
    talk.segment(True, PSH | ACK, b"again")
    talk.answer(b"c" * 1460)
    story.now += 1_000_000_000
    talk.answer(b"d" * 1460)
    sends = [line.split()[4:] for line in script_of(story) if line.startswith("send")]
    assert sends == [["0", "4000"], ["4000", "100"], ["4100", "1460"], ["5560", "1460"]]


def test_bytes_behind_a_hole_are_not_waited_for() -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open()
    talk.segment(True, PSH | ACK, b"behind", ahead=10, moves=False)
    talk.segment(False, PSH | ACK, b"answer")
    assert not [line for line in script_of(story) if line.startswith("got")]


def test_what_has_no_answer_has_no_listener() -> None:
    story = Story()
    story.tcp((PEER, 50000), (GUEST, 81)).segment(True, SYN)
    story.tcp((PEER, 50000), (GUEST, 82)).segment(True, SYN)
    story.tcp((PEER, 50000), (GUEST, 82)).segment(False, RST | ACK)
    assert not [line for line in script_of(story) if "listen" in line]


def test_a_udp_port_that_the_guest_calls_closed_gets_no_socket() -> None:
    story = Story()
    story.udp((PEER, 1000), (GUEST, 7), b"anybody?")
    story.icmp(GUEST, PEER, 3, 3, bytes(4) + story.packets[0].data[:28])
    story.udp((PEER, 1000), (GUEST, 8), b"anybody?")
    assert [line for line in script_of(story) if line.startswith("udp")] == ["udp 0 192.0.2.2:8"]


def test_what_cannot_be_played_is_left_out_and_told() -> None:
    story = Story()
    story.udp((PEER, 1), (GUEST, 2), b"x")
    story.udp((PEER, 1), ("198.51.100.200", 2), b"between others")
    story.udp((GUEST, 5353), ("224.0.0.251", 5353), b"mdns")
    story.icmp(GUEST, PEER, 8, 0, b"\0\1\0\1own ping")
    story.put(GUEST, PEER, 47, bytes(8))
    story.put(GUEST, "224.0.0.22", 2, bytes(8))
    assert told(story) == [
        "Packet 2: It is between other hosts, so that it is left out.",
        "Packets 3, 6: The guest's own multicast and broadcast is left out: its system makes it.",
        "Packet 4: The guest's own ICMP is left out: its system makes it.",
        "Packet 5: What the guest sends by IP protocol 47 is left out: no application can.",
    ]


def test_a_capture_with_nothing_for_the_guest_is_refused() -> None:
    story = Story()
    story.udp((GUEST, 5353), ("224.0.0.251", 5353), b"mdns")
    with pytest.raises(CaptureError, match=r"Nothing in the capture can be replayed with 10\.0\.0\.5"):
        foresee(story.capture(), ASKED)


def test_an_acknowledgement_of_gigabytes_makes_nothing_up() -> None:
    story = Story()
    talk = story.tcp((PEER, 50000), (GUEST, 8080)).open().say(b"a")
    talk.segment(True, ACK, acks=talk.server_seq + (1 << 30))
    assert any("more than 1048576 bytes" in text for text in told(story))
