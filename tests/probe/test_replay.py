"""The probe plays scripts of captured conversations, under Wine and over loopback."""

from __future__ import annotations

import itertools
import os
import socket
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from harness.guest.probe import ProbeClient, ProbeError
from harness.reproduce import ProbeGuest
from harness.reproduce.script import Script
from harness.waiting import Deadline

pytestmark = [pytest.mark.wine, pytest.mark.timeout(600)]  # the first one starts Wine, and builds the probe

# A loopback address for each process: ports that are free there stay free until the probe has taken them.
PID = os.getpid()
LOOPBACK = bytes((127, 64 + (PID >> 16), PID >> 8 & 255, PID & 255))
HERE = ".".join(map(str, LOOPBACK))
PORTS = itertools.count(20_000)  # below those that the system gives out


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that was given to nobody here, and that nobody has at all addresses."""
    while True:
        port = next(PORTS)
        with socket.socket(socket.AF_INET, kind) as attempt, suppress(OSError):
            attempt.bind((HERE, port))
            return port


@pytest.fixture
def guest(probe: ProbeClient, tmp_path: Path) -> ProbeGuest:
    path = tmp_path / "replay.script"

    def upload(local: Path, _: str) -> None:
        path.write_bytes(local.read_bytes())

    return ProbeGuest(probe, upload, "Z:" + str(path).replace("/", "\\"))


def test_a_client_waits_for_its_peer_before_each_step(guest: ProbeGuest) -> None:
    script, answer = Script(), bytes(range(256)) * 300
    with socket.create_server((HERE, 0)) as server:
        server.settimeout(60)
        channel, local, port = script.channel(), free_port(), server.getsockname()[1]
        script.step("connect", 1, 0, channel, f"{HERE}:{local}", f"{HERE}:{port}")
        script.send("send", 2, 0, channel, b"question")
        script.step("got", 4, 0, channel, len(answer))
        script.send("send", 4, 0, channel, b"thanks")
        script.step("eof", 5, 0, channel)
        script.step("close", 6, 0, channel)
        assert guest.load(script.encode()) == ()
        guest.start(keep_time=False)
        connection, address = server.accept()
        with connection:
            connection.settimeout(60)
            assert address[1] == local
            assert connection.recv(100) == b"question"
            connection.sendall(answer)
            assert connection.recv(100) == b"thanks"
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        result = guest.result(Deadline(60))
    assert result.received == {channel: (len(answer), zlib.crc32(answer))}
    assert result.troubles == ()


def test_a_server_takes_connections_by_their_peers(guest: ProbeGuest) -> None:
    script, port, ports = Script(), free_port(), (free_port(), free_port())
    listener = script.listen(LOOPBACK, port)
    channels = [script.channel(), script.channel()]
    for channel, peer in zip(channels, ports, strict=True):
        script.step("accept", 1, 0, channel, listener, f"{HERE}:{peer}")
        script.step("got", 2, 0, channel, 3)
        script.send("send", 3, 0, channel, b"%d" % peer)
        script.step("abort", 4, 0, channel)
    assert guest.load(script.encode()) == ()
    guest.start(keep_time=False)
    # They come in the other order: the script waits for the first, and finds the second among those that wait.
    clients = [socket.create_connection((HERE, port), 60, source_address=(HERE, peer)) for peer in ports[::-1]]
    for client in clients:
        client.sendall(b"abc")
    for client, peer in zip(clients, ports[::-1], strict=True):
        with client:
            assert client.recv(100) == b"%d" % peer
    assert guest.result(Deadline(60)).received == {channel: (3, zlib.crc32(b"abc")) for channel in channels}


def test_datagrams_are_counted_for_each_peer(guest: ProbeGuest) -> None:
    script, port = Script(), free_port(socket.SOCK_DGRAM)
    opened = script.udp(LOOPBACK, port)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for each in (one, other):
            each.bind((HERE, 0))
            each.settimeout(60)
        pairs = [script.pair(opened, f"{HERE}:{each.getsockname()[1]}") for each in (one, other)]
        script.send("sendto", 1, 0, pairs[0], b"hello")
        script.step("heard", 2, 0, pairs[1], 2)
        script.step("heard", 3, 0, pairs[0], 1)
        script.send("sendto", 4, 0, pairs[1], b"done")
        guest.load(script.encode())
        guest.start(keep_time=False)
        assert one.recv(100) == b"hello"
        one.sendto(b"1", (HERE, port))
        for word in (b"22", b"333"):
            other.sendto(word, (HERE, port))
        assert other.recv(100) == b"done"
        result = guest.result(Deadline(60))
    assert result.received == {pairs[0]: (1, zlib.crc32(b"1")), pairs[1]: (2, zlib.crc32(b"22333"))}


def test_a_channel_that_is_given_up_holds_nothing_up(guest: ProbeGuest) -> None:
    script, port = Script(), free_port()
    listener = script.listen(LOOPBACK, port)
    lost, other = script.channel(), script.channel()
    script.step("accept", 7, 0, lost, listener, f"{HERE}:9")
    script.step("got", 8, 0, lost, 10)
    script.step("accept", 9, 0, other, listener, f"{HERE}:{(source := free_port())}")
    guest.load(script.encode())
    guest.start(keep_time=False)
    deadline = Deadline(60)
    while (standing := guest.standing()).channel != lost:
        assert not deadline.expired, standing
    assert standing.number == 7
    guest.skip(lost)
    with socket.create_connection((HERE, port), 60, source_address=(HERE, source)):
        guest.result(Deadline(60))
    assert guest.standing().is_done


def test_a_held_step_is_taken_when_it_is_released_or_its_channel_given_up(guest: ProbeGuest) -> None:
    script, port = Script(), free_port(socket.SOCK_DGRAM)
    opened = script.udp(LOOPBACK, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HERE, 0))
        pair, lost = script.pair(opened, f"{HERE}:{other.getsockname()[1]}"), script.channel()
        holds = []
        for number, channel in enumerate((pair, pair, lost), 1):
            holds.append(script.hold(number, channel))
            script.send("sendto", number, 0, pair, b"%d" % number)
        script.hold(4, pair)
        guest.load(script.encode())
        guest.start(keep_time=False)
        said, deadline = [], Deadline(60)

        def until(number: int) -> None:
            while (standing := guest.standing()).number < number:
                assert not deadline.expired, standing
            assert standing.channel is None, "nothing is to be given up because the harness is late"
            other.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    said.append(other.recv(100))

        until(1)
        assert said == []
        guest.release(holds[1])
        until(3)
        assert said == [b"1", b"2"]
        guest.skip(lost)
        until(4)
        assert said == [b"1", b"2", b"3"]
        assert not guest.standing().is_done
        guest.release(script.holds)
        guest.result(Deadline(60))
    assert guest.standing().is_done


def test_what_does_not_work_is_told_with_its_packet(guest: ProbeGuest) -> None:
    script = Script()
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        script.listen(LOOPBACK, port)
        taken = guest.load(script.encode())
    assert [trouble.text for trouble in taken] == [f"Opening {HERE}:{port} ended with error 10048."]
    script, closed = Script(), free_port()
    channel = script.channel()
    script.step("connect", 3, 0, channel, f"{HERE}:{free_port()}", f"{HERE}:{closed}")
    script.send("send", 5, 0, channel, b"nobody")
    guest.load(script.encode())
    guest.start(keep_time=False)
    troubles = guest.result(Deadline(60)).troubles
    assert [(trouble.number, trouble.text) for trouble in troubles] == [(5, "Connecting ended with error 10061.")]


@pytest.mark.parametrize(
    "script",
    [
        b"", b"MZ\x90", b"wfp-replay 2 0000000999\ngo\nend\n", b"wfp-replay 3 0000000030\ngo\nend\n",
        b"wfp-replay 2 0000000027\nend\n", b"wfp-replay 2 0000000044\nlisten -1 127.0.0.1:1\ngo\nend\n",
        b"wfp-replay 2 0000000040\npair 0 70000 1.1.1.1:1\ngo\nend\n",
        b"wfp-replay 2 0000000034\nlisten 1 x\ngo\nend\n",
    ],
)  # fmt: skip
def test_what_is_no_script_is_refused(guest: ProbeGuest, script: bytes) -> None:
    with pytest.raises(ProbeError):
        guest.load(script)


def test_steps_of_anything_do_no_harm(guest: ProbeGuest) -> None:
    script = Script()
    channel = script.channel()
    for verb in (
        "send",
        "got",
        "eof",
        "ended",
        "heard",
        "sendto",
        "hold",
        "shutdown",
        "close",
        "abort",
        "accept",
        "nonsense",
    ):
        script.step(verb, 1, 0, channel, 1 << 60, 1 << 60)
    script.step("send", 1, 0, 1 << 20, 0, 1)
    guest.load(script.encode())
    guest.start(keep_time=False)
    assert guest.result(Deadline(60)).received == {}
