"""The stream link against a peer on loopback that behaves as QEMU does, or does not."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from harness.errors import DeadlineExpired, LinkError
from harness.link import Direction, StreamLink
from harness.link.framing import FrameDecoder, encode_frame
from harness.link.peer import find_peer_uid
from harness.waiting import Deadline, wait_for

# What the peer's socket holds unread. The system's own size differs from host to host, and grows.
PEER_BUFFER = 1 << 18


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(60)


@pytest.fixture
def link() -> Iterator[StreamLink]:
    with StreamLink.listen() as link:
        yield link


@pytest.fixture
def peer(link: StreamLink, deadline: Deadline) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", link.port)) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PEER_BUFFER)
        link.accept(deadline)
        peer.settimeout(60)
        yield peer


def unread(link: StreamLink) -> int:
    """Bytes that have come to the link's socket and were not read."""
    assert link._connection is not None
    return int.from_bytes(fcntl.ioctl(link._connection, termios.FIONREAD, bytes(4)), sys.byteorder)


def read_frames(peer: socket.socket, count: int) -> list[bytes]:
    decoder, frames = FrameDecoder(), []
    while len(frames) < count:
        frames += decoder.feed(peer.recv(1 << 16))
    return frames


class Inbox:
    """Collects frames of a link."""

    def __init__(self, link: StreamLink) -> None:
        self.frames: list[bytes] = []
        link.subscribe(lambda direction, frame, when: self.frames.append(frame), Direction.FROM_GUEST)

    def wait_for(self, count: int, deadline: Deadline) -> list[bytes]:
        return wait_for(lambda: self.frames if len(self.frames) >= count else None, deadline, f"{count} frames", 0.001)


def test_frames_go_both_ways(link: StreamLink, peer: socket.socket, deadline: Deadline) -> None:
    inbox = Inbox(link)
    link.send(b"to the guest")
    assert read_frames(peer, 1) == [b"to the guest"]
    peer.sendall(encode_frame(b"from") + encode_frame(b"the guest"))
    assert inbox.wait_for(2, deadline) == [b"from", b"the guest"]
    assert (link.counters.sent, link.counters.received, link.counters.received_bytes) == (1, 2, 13)


def test_sending_before_anyone_connected_says_so(link: StreamLink) -> None:
    with pytest.raises(LinkError, match="QEMU has not connected"):
        link.send(b"x")


def test_a_process_of_another_user_is_refused(deadline: Deadline) -> None:
    with (
        StreamLink.listen(allowed_uids=[os.getuid() + 1]) as link,
        socket.create_connection(("127.0.0.1", link.port)) as peer,
    ):
        assert select.select([link._listener], [], [], 60)[0], "connected, and not yet to be accepted"
        with pytest.raises(DeadlineExpired, match="1 connections of other users refused"):
            link.accept(Deadline(0.2))
        assert peer.recv(1) == b""
        assert not link.connected


def test_the_kernel_names_the_owner_of_the_other_end(peer: socket.socket) -> None:
    assert find_peer_uid(peer) == os.getuid()


def test_a_peer_that_has_closed_is_nobody_and_not_root(deadline: Deadline) -> None:
    with StreamLink.listen(allowed_uids=[0, os.getuid()]) as link:
        with socket.create_connection(("127.0.0.1", link.port)) as stranger:
            stranger.sendall(encode_frame(bytes(60)))  # it would be in the buffer, whoever asks who sent it

        with pytest.raises(DeadlineExpired, match="1 connections of other users refused"):
            link.accept(Deadline(0.2))

        with socket.create_connection(("127.0.0.1", link.port)):
            link.accept(deadline)
            assert link.connected


def test_a_taken_port_is_named(link: StreamLink) -> None:
    with pytest.raises(LinkError, match=f"cannot listen on 127.0.0.1:{link.port}"):
        StreamLink.listen(port=link.port)


def test_a_peer_that_does_not_read_holds_the_sender_back_and_nothing_is_lost(
    link: StreamLink, peer: socket.socket, deadline: Deadline
) -> None:
    frames = [number.to_bytes(4, "big") * 375 for number in range(10_000)]  # 15 MB: more than all buffers hold
    sender = threading.Thread(target=link.send_all, args=(frames,))
    sender.start()
    wait_for(lambda: link._pending_bytes > 1 << 20 or None, deadline, "the sender to be held back", 0.001)
    assert link.counters.sent < len(frames)
    assert read_frames(peer, len(frames)) == frames
    sender.join()
    assert link.counters.dropped == 0


def test_a_peer_that_never_reads_ends_the_sender_at_its_deadline(link: StreamLink, peer: socket.socket) -> None:
    with pytest.raises(LinkError, match=r"took no frame from the link for 0\.2 s"):
        link.send_all((bytes(1500) for _ in range(10_000)), Deadline(0.2))


def test_answers_of_subscribers_never_wait(link: StreamLink, peer: socket.socket, deadline: Deadline) -> None:
    """A guest that sends and does not read must not stop the thread that reads."""
    link.subscribe(lambda direction, frame, when: link.post(frame), Direction.FROM_GUEST)
    inbox = Inbox(link)
    peer.sendall(b"".join(encode_frame(bytes(60_000)) for _ in range(200)))  # 12 MB, all echoed, none read
    assert len(inbox.wait_for(200, deadline)) == 200
    assert len(read_frames(peer, 200)) == 200


def test_send_from_a_subscriber_is_refused_rather_than_left_to_wait_for_itself(
    link: StreamLink, peer: socket.socket, deadline: Deadline
) -> None:
    link.subscribe(lambda direction, frame, when: link.send(frame), Direction.FROM_GUEST)
    peer.sendall(encode_frame(b"x"))
    reason = wait_for(lambda: link.lost, deadline, "the link to be lost", 0.001)
    assert "A subscriber called 'send'" in reason


@pytest.mark.parametrize(
    ("last_words", "reason"),
    [(b"", "QEMU closed its end"), (b"\xff\xff\xff\xff", "announced a frame of 4294967295 bytes")],
    ids=["closed", "oversized"],
)
def test_a_lost_peer_is_told_with_its_reason(
    link: StreamLink, peer: socket.socket, deadline: Deadline, last_words: bytes, reason: str
) -> None:
    told: list[str] = []
    link.on_lost(told.append)
    peer.sendall(last_words)
    if not last_words:
        peer.close()
    wait_for(lambda: told or None, deadline, "the loss to be told", 0.001)
    assert reason in told[0]
    with pytest.raises(LinkError, match=reason):
        link.send(b"x")


def test_a_failing_subscriber_is_told_not_swallowed(link: StreamLink, peer: socket.socket, deadline: Deadline) -> None:
    def fail(direction: Direction, frame: bytes, when: float) -> None:
        raise ValueError(frame)

    link.subscribe(fail, Direction.FROM_GUEST)
    peer.sendall(encode_frame(b"surprise"))
    assert "ValueError(b'surprise')" in wait_for(lambda: link.lost, deadline, "the loss", 0.001)


def test_a_qemu_that_was_started_anew_connects_again(link: StreamLink, peer: socket.socket, deadline: Deadline) -> None:
    inbox = Inbox(link)
    peer.close()
    wait_for(lambda: link.lost, deadline, "the loss", 0.001)
    with socket.create_connection(("127.0.0.1", link.port)) as again:
        link.accept(deadline)
        assert link.epoch == 2
        link.send(b"hello again")
        assert read_frames(again, 1) == [b"hello again"]
        again.sendall(encode_frame(b"same subscribers"))
        assert inbox.wait_for(1, deadline) == [b"same subscribers"]


def test_drain_cuts_off_the_past_in_both_directions(link: StreamLink, peer: socket.socket, deadline: Deadline) -> None:
    inbox = Inbox(link)
    link.drain(deadline)
    epoch = link.epoch
    held = threading.Event()
    link.subscribe(lambda direction, frame, when: held.wait(100), Direction.FROM_GUEST)
    peer.sendall(encode_frame(b"the reader waits at this one"))
    inbox.wait_for(1, deadline)
    for _ in range(2000):
        link.post(bytes(1500))  # more than the sockets hold: the last ones have not left this process
    stale = encode_frame(b"stale") * 3 + encode_frame(b"stale, in two parts")[:9]
    peer.sendall(stale)
    wait_for(lambda: unread(link) == len(stale) or None, deadline, "the stale bytes to have come", 0.001)
    drained: list[int] = []
    draining = threading.Thread(target=lambda: drained.append(link.drain(deadline)))
    draining.start()
    wait_for(lambda: link._drain, deadline, "the drain to begin", 0.001)
    unsent = link._drained_frames
    held.set()
    draining.join()
    link.send(b"the new epoch")
    peer.sendall(encode_frame(b"stale, in two parts")[9:] + encode_frame(b"fresh"))

    assert link.epoch == epoch + 1
    assert unsent > 0
    read = read_frames(peer, 2000 - unsent + 1)
    assert read[-1] == b"the new epoch"
    assert inbox.wait_for(2, deadline) == [b"the reader waits at this one", b"fresh"]
    assert link.counters.drained == drained[0] == unsent + 4


def test_close_is_idempotent_and_ends_the_thread(link: StreamLink, peer: socket.socket) -> None:
    link.close()
    link.close()
    assert peer.recv(1) == b""
    with pytest.raises(LinkError, match="was closed"):
        link.send(b"x")
