"""Events as the probe prints them, and the trace that collects them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.errors import TransportError
from harness.trace import Entry, EventKind, Trace, parse_event, render_timeline


def record(**fields: object) -> dict[str, object]:
    return {"seq": 1, "time_100ns": 10_000_000, "kind": 1, "layer": 66, **fields}


def test_numbers_of_the_interface_become_names() -> None:
    event = parse_event(
        record(
            action=0x1002, status=0x40000000, protocol=6, local_addr="192.0.2.2", local_port=49152,
            remote_addr="198.51.100.5", remote_port=80, new_addr="127.0.0.1", new_port=8080,
            injection_state=2, redirect_state=1,
        )
    )  # fmt: skip

    assert event.kind is EventKind.CLASSIFY
    assert event.layer == "ALE_CONNECT_REDIRECT_V4"
    assert event.action == "permit"
    assert event.status_name == "STATUS_OBJECT_NAME_EXISTS"
    assert (event.local, event.remote, event.redirected_to) == (
        "192.0.2.2:49152", "198.51.100.5:80", "127.0.0.1:8080",
    )  # fmt: skip
    assert event.injection_state == "injected-by-self"
    assert event.redirect_state == "not-redirected"
    assert event.time == 1.0


def test_what_is_said_of_a_stream_has_names() -> None:
    event = parse_event(
        record(layer=20, stream_flags=0x80011, stream_action=1, stream_offset=7, stream_missed=2, data_length=3)
    )

    assert event.stream_flags == "RECEIVE|RECEIVE_PUSH|SEND_DISCONNECT"
    assert event.stream_action == "need-more-data"
    assert (event.stream_offset, event.stream_missed) == (7, 2)
    assert "SEND_DISCONNECT at 7, 3 bytes need-more-data" in str(event)
    assert parse_event(record(stream_flags=0x40000000)).stream_flags == "0x40000000"


def test_a_signed_status_is_the_same_status() -> None:
    assert parse_event(record(status=-1073741811)).status_name == "STATUS_INVALID_PARAMETER"


def test_absent_addresses_are_empty_and_ipv6_has_brackets() -> None:
    event = parse_event(record(local_addr="0.0.0.0", remote_addr="2001:db8::5", remote_port=80))

    assert event.local == ""
    assert event.remote == "[2001:db8::5]:80"


@pytest.mark.parametrize("wrong", [{"kind": 99}, {"kind": 0}, {"seq": "x"}, {"injection_state": 9}, {"kind": "dance"}])
def test_what_is_no_event_is_refused_and_shown(wrong: dict[str, object]) -> None:
    with pytest.raises(TransportError, match="cannot be read"):
        parse_event(record(**wrong))


def batches(*events: list[dict[str, object]], dropped: int = 0) -> SimpleNamespace:
    waiting = [*events, []]
    return SimpleNamespace(
        read_events=lambda: SimpleNamespace(dropped=dropped, events=waiting.pop(0), more=bool(waiting))
    )


def test_refresh_reads_until_the_ring_is_empty() -> None:
    trace = Trace(batches([record(seq=1)], [record(seq=2), record(seq=3, kind=8)], dropped=4))

    assert trace.refresh() == 3
    assert [event.seq for event in trace.events] == [1, 2, 3]
    assert trace.has_marker(3)
    assert not trace.has_marker(2)  # an event of that number, but no marker
    assert trace.dropped == 4


def test_guest_time_is_placed_on_the_hosts_clock_by_the_quickest_read() -> None:
    now = iter([101.5, 102.1])
    trace = Trace(now=lambda: next(now))
    trace.take([record(seq=1, time_100ns=10_000_000)])  # read 100.5 s after its guest time
    trace.take([record(seq=2, time_100ns=20_000_000)])  # read 100.1 s after: the better bound

    assert trace.host_time(trace.events[1]) == pytest.approx(102.1)
    assert trace.host_time(trace.events[0]) == pytest.approx(101.1)


def test_the_timeline_merges_all_lanes_in_order() -> None:
    entries = [
        Entry(time=12.5, lane="frame", text="frame 1"),
        Entry(time=10.0, lane="step", text="start act"),
        Entry(time=11.0, lane="event", text="event 1"),
    ]

    assert render_timeline(entries).splitlines() == [
        "   0.0000 s  step    start act",
        "   1.0000 s  event   event 1",
        "   2.5000 s  frame   frame 1",
    ]


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, ""),
        (0x1, "policy-change"),
        (0x10, "classify-completion"),
        (0x11, "policy-change classify-completion"),
        (0x80000001, "policy-change 0x80000000"),
    ],
)
def test_an_event_says_why_a_flow_was_authorized_again(bits, words):
    event = parse_event(record(layer=48, reauthorize_reason=bits))

    assert event.reauthorized == words
    assert ("reauthorized" in str(event)) == bool(bits)


def test_pends_and_completions_have_their_kinds():
    assert [parse_event(record(kind=number)).kind for number in (14, 15)] == [EventKind.PEND, EventKind.COMPLETE]
