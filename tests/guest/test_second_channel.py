"""The harness' end of the second channel, against a peer that is stale, garbled or hostile."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DeadlineExpired, TransportError
from harness.guest.second_channel import ANSWER_MAX, Refused, SecondChannel
from harness.guest.threads import find_stuck, read_processes, render
from harness.waiting import Deadline, wait_for

HELLO = {
    "ok": True,
    "version": 1,
    "kind": "reference",
    "boot_id": "b007",
    "uptime": 3.5,
    "management": True,
    "drivers": ["x.sys"],
}


@contextmanager
def peer(folder: Path, answer: Callable[[dict[str, Any]], bytes]) -> Iterator[SecondChannel]:
    """QEMU's socket with a guest behind it that answers with whatever bytes `answer` gives."""
    path = folder / "com2"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(4)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            # The harness may be gone before it has read all: then both to read and to write fail.
            with connection, connection.makefile("rb") as lines, suppress(OSError):
                for line in lines:
                    if line.strip():
                        connection.sendall(answer(json.loads(line)))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    channel = SecondChannel(lambda: path)
    try:
        yield channel
    finally:
        channel.close()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def line(request: dict[str, Any], **members: object) -> bytes:
    return json.dumps({"nonce": request["nonce"], **members}).encode() + b"\n"


def test_what_comes_from_before_a_revert_is_passed_over(tmp_path):
    def answer(request):
        half = b'{"nonce":"0123","ok":tr'
        old = b'\n{"nonce":"aaaaaaaaaaaaaaaa","ok":true,"version":1,"boot_id":"old"}\n'
        echo = json.dumps(request).encode() + b"\r\n"  # of a terminal that is not raw yet
        return half + old + b"[1]\nnull\n\xff\xfe\n" + echo + line(request, **HELLO)

    with peer(tmp_path, answer) as channel:
        hello = channel.hello(Deadline(30))

    assert (hello.boot_id, hello.management, hello.drivers) == ("b007", True, ("x.sys",))


def test_a_line_without_end_is_thrown_away_and_does_not_fill_the_memory(tmp_path):
    with peer(tmp_path, lambda request: b"x" * (ANSWER_MAX * 3) + b"\n" + line(request, **HELLO)) as channel:
        assert channel.hello(Deadline(30)).boot_id == "b007"


def test_an_answer_that_is_too_long_is_none(tmp_path):
    with (
        peer(tmp_path, lambda request: line(request, ok=True, filler="x" * ANSWER_MAX)) as channel,
        pytest.raises(DeadlineExpired),
    ):
        channel.request("hello", Deadline(0.5))


@pytest.mark.parametrize("boot_id", [None, 5, "", "x" * 65, "a\nb", "\u202e"])
def test_a_boot_id_that_is_none_is_refused(tmp_path, boot_id):
    with (
        peer(tmp_path, lambda request: line(request, **{**HELLO, "boot_id": boot_id})) as channel,
        pytest.raises(TransportError, match="gives the boot id"),
    ):
        channel.hello(Deadline(30))


def test_nonsense_in_the_members_becomes_nothing(tmp_path):
    strange = {**HELLO, "uptime": -1, "management": "yes", "drivers": {"a": 1}}
    with peer(tmp_path, lambda request: line(request, **strange)) as channel:
        hello = channel.hello(Deadline(30))

    assert (hello.uptime, hello.management, hello.drivers) == (0, False, ())


def test_a_refusal_has_its_name_and_words(tmp_path):
    with (
        peer(tmp_path, lambda request: line(request, ok=False, error="Timeout", message="too slow")) as channel,
        pytest.raises(Refused, match="refused 'stop' with Timeout: too slow") as caught,
    ):
        channel.stop_service("x", Deadline(30))

    assert caught.value.name == "Timeout"


def _file(content: bytes, **wrong: object) -> Callable[[dict[str, Any]], bytes]:
    def answer(request: dict[str, Any]) -> bytes:
        if request["op"] == "hash":
            return line(
                request, **{"ok": True, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **wrong}
            )
        piece = content[request["offset"] : request["offset"] + request["count"]]
        return line(request, ok=True, data=base64.b64encode(piece).decode(), end=len(piece) < request["count"])

    return answer


def test_a_file_whose_hash_is_another_is_refused(tmp_path):
    with (
        peer(tmp_path, _file(b"x" * 100_000, sha256="0" * 64)) as channel,
        pytest.raises(TransportError, match="came over the second channel with 100000 bytes and hash"),
    ):
        channel.fetch("/x", Deadline(30))


def test_a_file_that_never_ends_is_given_up(tmp_path):
    def answer(request):
        if request["op"] == "hash":
            return line(request, ok=True, size=10, sha256="")
        return line(request, ok=True, data=base64.b64encode(b"x" * 20_000).decode(), end=False)

    with peer(tmp_path, answer) as channel, pytest.raises(TransportError, match="goes on behind 100000 bytes"):
        channel.fetch("/x", Deadline(30), at_most=100_000)


def test_a_piece_that_is_no_base64_is_refused(tmp_path):
    def answer(request):
        return (
            line(request, ok=True, size=3, sha256="") if request["op"] == "hash" else line(request, ok=True, data="!!")
        )

    with peer(tmp_path, answer) as channel, pytest.raises(TransportError, match="garbled"):
        channel.fetch("/x", Deadline(30))


def test_a_peer_that_goes_away_is_told_and_the_next_request_connects_anew(tmp_path):
    first = True

    def answer(request):
        nonlocal first
        if first:
            first = False
            raise OSError
        return line(request, **HELLO)

    with peer(tmp_path, answer) as channel:
        with pytest.raises(TransportError, match="QEMU closed the guest's second channel"):
            channel.request("list", Deadline(30))
        assert channel.hello(Deadline(30)).boot_id == "b007"


def test_a_greeting_that_nobody_heard_is_said_again(tmp_path):
    heard = []

    def answer(request):
        heard.append(request["nonce"])
        return b"" if len(heard) == 1 else line(request, **HELLO)  # the agent had not opened its port

    with peer(tmp_path, answer) as channel:
        assert channel.hello(Deadline(30)).boot_id == "b007"

    assert len(heard) >= 2  # more where the second answer was slow
    assert len(set(heard)) == 1, "it is the same greeting"


def test_an_order_is_given_once(tmp_path):
    heard = []

    def answer(request):
        heard.append(request["op"])
        return b""

    with peer(tmp_path, answer) as channel:
        with pytest.raises(DeadlineExpired):
            channel.kill("x", Deadline(2.0))
        wait_for(lambda: heard or None, Deadline(30), "the order to be heard")

    assert heard == ["kill"]


def test_the_agent_has_less_time_to_stop_a_service_than_the_harness_waits_for_its_answer(tmp_path):
    asked = []

    def answer(request):
        asked.append(request["seconds"])
        return line(request, ok=True, stopped=True)

    with peer(tmp_path, answer) as channel:
        assert channel.stop_service("x", Deadline(30))

    assert 0 < asked[0] <= 28


def test_a_machine_without_the_port_has_no_channel():
    with pytest.raises(TransportError, match="has no second channel"):
        SecondChannel(lambda: None).hello(Deadline(1))


def frame(module, offset, sp):
    return {"module": module, "offset": offset, "sp": sp}


def stacks(*threads):
    return read_processes({"processes": [{"pid": 7, "name": "winedevice.exe", "threads": list(threads)}]})


CLASSIFY = [
    frame("ntdll.dll", 1, 100),
    frame("x.sys", 0x2000, 200),
    frame("x.sys", 0x1000, 300),
    frame("fwpkclnt.sys", 5, 400),
]
WORKER = [frame("ntoskrnl.exe", 1, 100), frame("x.sys", 0x3000, 200), frame("ntdll.dll", 5, 300)]


def thread(tid, frames, ticks=0, native="libc.so.6+0x1", state="S"):
    return {"tid": tid, "name": "t", "state": state, "ticks": ticks, "native": native, "frames": frames}


def test_a_thread_in_the_same_call_of_the_driver_twice_is_stuck():
    inner_changed = [frame("ntdll.dll", 9, 120), *CLASSIFY[1:]]

    found = find_stuck(stacks(thread(1, CLASSIFY)), stacks(thread(1, inner_changed)), "X.SYS")

    assert [stuck.thread.id for stuck in found] == [1]
    assert not found[0].turns
    told = found[0].tell(lambda module, offset: "deadlock at a.c:5" if (module, offset) == ("x.sys", 0x2000) else "")
    assert told == (
        "Thread 1 waits in ntdll.dll+0x9 < x.sys+0x2000 (deadlock at a.c:5) < x.sys+0x1000 < fwpkclnt.sys+0x5."
    )


def test_a_loop_turns():
    turning = thread(1, CLASSIFY[1:], native=None, state="R")

    assert find_stuck(stacks(turning), stacks(turning), "x.sys")[0].turns


@pytest.mark.parametrize(("before", "after"), [("S", "S"), ("R", "S"), ("S", "R")])
def test_a_waiting_thread_that_a_look_woke_does_not_turn(before, after):
    first, second = thread(1, CLASSIFY, state=before), thread(1, CLASSIFY, ticks=1, state=after)

    assert not find_stuck(stacks(first), stacks(second), "x.sys")[0].turns


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (thread(1, WORKER), thread(1, WORKER)),  # a thread of the driver's own that waits for work
        (thread(1, CLASSIFY), thread(2, CLASSIFY)),  # another thread
        (thread(1, CLASSIFY), thread(1, [*CLASSIFY[:2], frame("x.sys", 0x1000, 308), CLASSIFY[3]])),  # another call
        (thread(1, CLASSIFY), thread(1, [])),
        (thread(1, [frame("fwpkclnt.sys", 5, 4)]), thread(1, [frame("fwpkclnt.sys", 5, 4)])),
    ],
)
def test_what_moves_or_rests_is_not_stuck(before, after):
    assert not find_stuck(stacks(before), stacks(after), "x.sys")


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"processes": 5},
        {"processes": [5]},
        {"processes": [{"pid": 1, "name": "x", "threads": [5]}]},
        {"processes": [{"pid": -1, "name": "x", "threads": []}]},
        {"processes": [{"pid": 1, "name": "x", "threads": [thread(1, [5])]}]},
        {"processes": [{"pid": 1, "name": "x", "threads": [thread(1, [frame("x", 1 << 64, 1)])]}]},
        {"processes": [{"pid": 1, "name": "x", "threads": [thread(1, [frame(["x"], 1, 1)])]}]},
    ],
)
def test_stacks_that_are_not_what_they_should_be_are_refused(told):
    with pytest.raises(ValueError, match=r"."):
        read_processes(told)


def test_the_text_of_stacks_has_no_control_characters_of_the_guests():
    text = render(stacks({**thread(1, CLASSIFY), "name": "\x1b[2J\nx"}), lambda module, offset: "")

    assert "\x1b" not in text
    assert "    #1 x.sys+0x2000" in text
