from __future__ import annotations

import json

import pytest

from harness.errors import DeadlineExpired, TransportError
from harness.guest.probe import ProbeClient, ProbeError
from harness.waiting import Deadline


class FakeProbe:
    """The other end: keeps the requests, answers when told to."""

    def __init__(self, answer=None):
        self.client = ProbeClient(self)
        self.requests = []
        self.answer = answer

    def send(self, data, *, end=False):
        request = json.loads(data)
        self.requests.append(request)
        if self.answer is not None:
            self.reply(request, **self.answer(request))

    def reply(self, request, *, ok=True, **fields):
        self.client.feed("stdout", json.dumps({"id": request["id"], "ok": ok} | fields) + "\n")


def ready(fake):
    fake.client.feed("stdout", '{"event":"ready","version":1,"pid":44}\n')
    return fake.client


def test_ready_gives_the_process_id():
    client = ready(FakeProbe())

    assert client.wait_until_ready(Deadline(1)) == 44
    assert client.pid == 44


def test_another_version_is_refused():
    client = FakeProbe().client
    client.feed("stdout", '{"event":"ready","version":2,"pid":44}\n')

    with pytest.raises(TransportError, match="speaks version 2, wanted 1"):
        client.wait_until_ready(Deadline(1))


def test_what_it_printed_instead_of_ready_is_shown():
    client = FakeProbe().client
    client.feed("stderr", "err:module not found\n")

    with pytest.raises(DeadlineExpired, match="module not found"):
        client.wait_until_ready(Deadline(0.01))


def test_replies_out_of_order_find_their_requests():
    fake = FakeProbe()
    first, second = fake.client.start("accept"), fake.client.start("hello")
    fake.reply(fake.requests[1], who="second")
    fake.reply(fake.requests[0], who="first")

    assert first.reply()["who"] == "first"
    assert second.reply()["who"] == "second"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_cut_anywhere_are_put_together(size):
    fake = FakeProbe()
    pending = fake.client.start("hello")
    text = '{"event":"ready","version":1,"pid":9}\r\n{"id":1,"ok":true,"x":"é"}\r\n'
    for at in range(0, len(text), size):
        fake.client.feed("stdout", text[at : at + size])

    assert pending.reply()["x"] == "é"
    assert fake.client.pid == 9


def test_noise_between_lines_does_no_harm():
    fake = FakeProbe()
    pending = fake.client.start("hello")
    fake.client.feed("stdout", 'fixme:something\n\n[1]\n{"id":77,"ok":true}\n')
    fake.reply(fake.requests[0])

    assert pending.reply()["ok"]


def test_a_refusal_carries_name_and_number():
    fake = FakeProbe(lambda request: {"ok": False, "error": "WSAEADDRINUSE", "code": 10048, "message": "in use"})

    with pytest.raises(ProbeError, match=r"'tcp_listen' ended with WSAEADDRINUSE .*in use") as refused:
        fake.client.tcp_listen("127.0.0.1:80")
    assert (refused.value.name, refused.value.code) == ("WSAEADDRINUSE", 10048)


def test_a_connect_that_fails_is_told_and_only_raised_on_use():
    fake = FakeProbe(lambda request: {"ok": False, "error": "WSAECONNREFUSED", "code": 10061})
    socket = fake.client.tcp_connect("198.51.100.5:80")

    assert socket.error == "WSAECONNREFUSED"
    socket.close()
    with pytest.raises(ProbeError, match="WSAECONNREFUSED"):
        socket.send(b"x")


def test_a_connect_that_was_begun_ends_when_the_answer_comes():
    fake = FakeProbe()

    connecting = fake.client.start_tcp_connect("198.51.100.5:80", seconds=3)

    assert not connecting.is_done
    (request,) = fake.requests
    assert (request["op"], request["timeout_ms"]) == ("tcp_connect", 3000)
    fake.reply(request, socket=4, local="192.0.2.2:5")
    assert connecting.is_done
    assert (connecting.result().handle, connecting.result().peer) == (4, "198.51.100.5:80")


def test_all_connects_are_on_their_way_before_the_first_answer():
    fake = FakeProbe()
    send = fake.send

    def answer_when_both_are_there(data, *, end=False):
        send(data)
        if len(fake.requests) == 2:
            for request in reversed(fake.requests):
                fake.reply(request, socket=request["id"] * 10, local="192.0.2.2:5", peer=request["address"])

    fake.send = answer_when_both_are_there

    sockets = fake.client.tcp_connect_all(["198.51.100.5:80", "198.51.100.6:80"])

    assert [(s.handle, s.peer) for s in sockets] == [(10, "198.51.100.5:80"), (20, "198.51.100.6:80")]


def test_verbs_of_sockets_are_the_ops_of_the_probe():
    answers = {
        "tcp_listen": {"socket": 1, "local": "127.0.0.1:8080"},
        "accept": {"socket": 2, "peer": "192.0.2.2:50000", "local": "127.0.0.1:8080", "redirect": {"a": 1}},
        "send": {"sent": 3},
        "recv": {"hex": "616263", "eof": False},
        "state": {"accepted": 1},
    }
    fake = FakeProbe(lambda request: answers.get(request["op"], {}))
    listener = ready(fake).tcp_listen("127.0.0.1:8080")
    socket = listener.accept(seconds=2)

    assert (listener.port, listener.pid, str(listener), listener.accepted) == (8080, 44, "127.0.0.1:8080", 1)
    assert socket.redirect == {"a": 1}
    assert socket.send(b"abc") == 3
    assert socket.receive(3, exact=True) == b"abc"
    socket.reset()
    assert fake.requests[1] == {"id": 2, "op": "accept", "socket": 1, "timeout_ms": 2000}
    assert fake.requests[3] == {"id": 4, "op": "send", "socket": 2, "hex": "616263"}
    assert fake.requests[4] | {"timeout_ms": 0} == {
        "id": 5, "op": "recv", "socket": 2, "count": 3, "exact": True, "timeout_ms": 0,
    }  # fmt: skip
    assert fake.requests[5] == {"id": 6, "op": "close", "socket": 2, "reset": True}


def test_a_probe_that_ends_wakes_whoever_waits():
    fake = FakeProbe()
    pending = fake.client.start("accept")
    fake.client.lose("'wfpprobe.exe' ended with exit code 3")

    with pytest.raises(TransportError, match="ended with exit code 3"):
        pending.reply()
    with pytest.raises(TransportError, match="ended with exit code 3"):
        fake.client.start("hello")


def test_a_revert_drops_what_was_on_its_way_but_not_the_probe():
    fake = FakeProbe()
    pending = fake.client.start("accept")
    fake.client.feed("stdout", '{"id":1,"ok"')
    fake.client.resynchronise()

    with pytest.raises(TransportError, match="put back to a snapshot"):
        pending.reply()
    again = fake.client.start("hello")
    fake.reply(fake.requests[-1])
    assert again.reply()["ok"]


def test_an_interruption_ends_what_waits_and_refuses_what_comes_until_the_guest_is_put_back():
    fake = FakeProbe()
    pending = fake.client.start("accept")

    fake.client.cut_off("the guest has crashed")

    with pytest.raises(TransportError, match="does not answer any more: the guest has crashed"):
        pending.reply()
    with pytest.raises(TransportError, match="does not answer any more: the guest has crashed"):
        fake.client.start("hello")
    fake.client.resynchronise()
    again = fake.client.start("hello")
    fake.reply(fake.requests[-1])
    assert again.reply()["ok"]


def test_a_request_that_cannot_be_sent_leaves_nothing_waiting():
    class Broken:
        def send(self, data, *, end=False):
            raise TransportError("gone")

    client = ProbeClient(Broken())
    with pytest.raises(TransportError):
        client.start("hello")
    client.lose("x")  # would set an exception on a future nobody holds


def test_events_go_to_whoever_subscribed():
    fake = FakeProbe()
    seen = []
    fake.client.subscribe(seen.append)
    fake.client.feed("stdout", '{"event":"accepted","listener":1,"socket":2}\n')

    assert seen == [{"event": "accepted", "listener": 1, "socket": 2}]
