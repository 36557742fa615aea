"""The record of the guest's sockets: what was asked, what was answered and when, whatever a guest says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import TransportError
from harness.guest.probe import ProbeClient
from harness.guest.socket_log import SocketLog


class Answering:
    """A probe that answers each request with what a test says."""

    def __init__(self, *answers: dict[str, object]) -> None:
        self.answers = list(answers)
        self.client = ProbeClient(self)
        self.log = SocketLog()
        self.stop = self.client.observe(self.log)

    def send(self, data: bytes, *, end: bool = False) -> None:
        if self.answers:
            reply = {"id": json.loads(data)["id"], **self.answers.pop(0)}
            self.client.feed("stdout", json.dumps(reply) + "\n")


CONNECTED = {"ok": True, "socket": 7, "local": "192.0.2.2:1040", "peer": "198.51.100.5:80"}


def told(log: SocketLog) -> list[str]:
    return [str(call).rpartition(" (")[0] for call in log.calls]


def test_a_conversation_reads_as_one() -> None:
    probe = Answering(CONNECTED, {"ok": True, "sent": 4}, {"ok": True, "hex": "70696e67"}, {"ok": True, "hex": ""})

    socket = probe.client.tcp_connect("198.51.100.5:80")
    socket.send(b"ping")
    socket.receive()
    socket.receive()

    assert told(probe.log) == [
        "socket 1 tcp_connect 198.51.100.5:80: connected from 192.0.2.2:1040",
        "socket 2 send 192.0.2.2:1040 -> 198.51.100.5:80, 4 bytes: done",
        "socket 3 recv 192.0.2.2:1040 -> 198.51.100.5:80: 4 bytes",
        "socket 4 recv 192.0.2.2:1040 -> 198.51.100.5:80: end of the stream",
    ]
    record = probe.log.calls[1].as_record()
    assert record["asked"] == {"socket": 7, "hex": "70696e67"}
    assert record["reply"] == {"ok": True, "sent": 4}
    assert record["seconds"] >= 0


def test_an_error_is_told_by_its_name_and_no_answer_as_none() -> None:
    probe = Answering({"ok": False, "error": "WSAECONNREFUSED", "code": 10061})

    probe.client.tcp_connect("198.51.100.5:81")
    probe.client.start("tcp_connect", address="198.51.100.5:82")
    probe.client.lose("the guest is gone")

    assert told(probe.log)[0] == "socket 1 tcp_connect 198.51.100.5:81: WSAECONNREFUSED"
    assert str(probe.log.calls[1]) == "socket 2 tcp_connect 198.51.100.5:82: no answer"


def test_what_is_the_harnesss_own_is_no_socket_and_what_comes_later_is_not_seen() -> None:
    probe = Answering({"ok": True, "version": 1}, {"ok": True}, CONNECTED)

    probe.client.request("drv_version")
    probe.client.request("hello")
    probe.stop()
    probe.client.tcp_connect("198.51.100.5:80")

    assert probe.log.calls == []


def test_a_request_that_could_not_be_sent_has_no_answer() -> None:
    client, log = ProbeClient(), SocketLog()
    client.observe(log)

    with pytest.raises(TransportError, match="was not started"):
        client.request("tcp_connect", address="x")

    assert [call.seconds for call in log.calls] == [None]


def test_its_size_is_bounded() -> None:
    log = SocketLog()
    long = {"ok": False, "error": "x" * 100_000, "y" * 1000: ["z"] * 100_000}
    for number in range(5100):
        log.asked(number, "send", {"socket": 1, "hex": "00" * 100_000 if number < 10 else ""})
        log.answered(number, long if number < 10 else {"ok": True})

    assert len(log.calls) == 5000
    assert log.left_out == 100
    assert max(len(json.dumps(call.as_record())) for call in log.calls) < 5000
    assert max(len(str(call)) for call in log.calls) < 500


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=20)


@given(st.dictionaries(st.text(max_size=8), st.recursive(VALUES, st.lists, max_leaves=8), max_size=5))
def test_whatever_a_guest_answers_is_a_line_and_a_record(reply: dict[str, object]) -> None:
    for op in ("tcp_connect", "accept", "recv_from", "close"):
        for ok in ({}, {"ok": True, "socket": 1, "local": reply, "hex": "zz"}):
            log = SocketLog()
            log.asked(1, op, {"socket": 3})
            log.answered(1, {**reply, **ok})
            log.asked(2, "send", {"socket": 1})
            assert str(log.calls[0]).startswith(f"socket 1 {op}")
            json.dumps([call.as_record() for call in log.calls])
