"""A link over a TCP connection on loopback that QEMU opens (`-netdev socket,connect=`): lossless by construction.

QEMU stops reading while the guest's NIC has no room, so that a full socket holds the sender back instead of
dropping. One thread serves the connection; the listening socket stays open, so that a QEMU that was started
anew may connect again.
"""

from __future__ import annotations

import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import islice
from types import TracebackType
from typing import Self

from harness.errors import HostError, LinkError
from harness.link.framing import FrameDecoder, encode_frame
from harness.link.impairment import Impairment
from harness.link.peer import default_uids, find_peer_uid
from harness.link.protocol import Direction, LinkCounters, LostSubscriber, Observer, Subscriber, Subscribers
from harness.link.wire import Passage, Spared, Wire
from harness.waiting import Deadline

# How much may wait in this process. Senders wait above the first; answers of stations are dropped above the second.
_HIGH_WATER = 1 << 20
_OVERFLOW = 64 << 20
# How long a sender waits for QEMU to take a frame when it brings no deadline of its own.
_PATIENCE = 30.0
# Nothing came for so many milliseconds: QEMU has nothing more to say from before the cut.
_QUIET_MS = 3


class StreamLink:
    """A listening socket for one test NIC, and the connection that QEMU made to it."""

    def __init__(self, listener: socket.socket, allowed_uids: frozenset[int]) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self._allowed_uids = allowed_uids
        self.counters = LinkCounters()
        self.epoch = 0
        self._subscribers = Subscribers()
        self._lost_subscribers: list[LostSubscriber] = []
        # Guards everything below; held while the queue is filled, so that subscribers see frames in wire order.
        self._lock = threading.RLock()
        self._moved = threading.Condition(self._lock)
        self._connection: socket.socket | None = None
        self._lost: str | None = "QEMU has not connected to the link yet."
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._head_begun = False
        self._spared = Spared()
        self._wires: dict[Direction, Wire] = {}
        self._leaving: deque[tuple[Direction, Passage]] = deque()  # for the serving thread to tell, in order
        self._drain: threading.Event | None = None
        self._drained_frames = 0
        self._thread: threading.Thread | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False

    @classmethod
    def listen(cls, *, port: int = 0, allowed_uids: Iterable[int] | None = None) -> Self:
        """Open the listening socket on 127.0.0.1; `allowed_uids` are the users whose processes may connect."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Buffers are inherited by the connection; large ones keep both sides from waiting for each other.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
            listener.bind(("127.0.0.1", port))
            listener.listen(4)
        except OSError as error:
            listener.close()
            raise LinkError(
                f"The link cannot listen on 127.0.0.1:{port}: {error.strerror}.",
                hint="Leave the port out to have a free one chosen.",
            ) from error
        return cls(listener, frozenset(allowed_uids) if allowed_uids is not None else default_uids())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether a peer is there."""
        return self._lost is None

    @property
    def lost(self) -> str | None:
        """Why no peer is there, or None while one is."""
        return self._lost

    def accept(self, deadline: Deadline) -> None:
        """Wait for QEMU to connect; a later call takes the connection of a QEMU that was started anew.

        Connections of users other than the allowed ones are closed and counted.
        """
        while True:
            ready, _, _ = select.select([self._listener], [], [], deadline.remaining())
            if not ready:
                raise deadline.expire(
                    f"QEMU to connect to the link on 127.0.0.1:{self.port}",
                    f"{self.counters.refused_peers} connections of other users refused",
                )
            connection, _ = self._listener.accept()
            uid = find_peer_uid(connection)
            if uid in self._allowed_uids:
                break
            connection.close()
            self.counters.refused_peers += 1
        self._detach("A new peer took the place of this one.")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        with self._lock:
            self._connection, self._lost = connection, None
            self.epoch += 1
            self._thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"link-{self.port}", daemon=True
            )
            self._thread.start()

    def on_lost(self, callback: LostSubscriber) -> None:
        """Have `callback` called with the reason when the connection ends in any way but `close`."""
        self._lost_subscribers.append(callback)

    def subscribe(self, callback: Subscriber, direction: Direction | None = None) -> Callable[[], None]:
        """Have `callback` called for every frame from now on; it must be quick and must not call `send`.

        An error that it raises ends the link, with that error as the reason.
        """
        return self._subscribers.add(callback, direction)

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Have `callback` called for every frame from now on, those too that the wire loses."""
        return self._subscribers.observe(callback)

    def let_pass(self, pattern: bytes) -> AbstractContextManager[None]:
        """A block in which frames that hold `pattern` pass whatever impairs the link, behind all that it held back."""
        return self._spared.let_pass(pattern)

    def impair(self, to_guest: Impairment | None = None, from_guest: Impairment | None = None) -> dict[Direction, Wire]:
        """Have frames pass through an impairment from now on, or through none; what was held back goes on first.

        Subscribers see of both directions what arrives; observers see what is lost as well. The wires that are given
        back count what they do.
        """
        with self._lock:
            before, wanted = self._wires, {Direction.TO_GUEST: to_guest, Direction.FROM_GUEST: from_guest}
            self._wires = {way: Wire(each, self._spared) for way, each in wanted.items() if each is not None}
            for way, wire in before.items():
                self._hand_on(way, wire.flush("let go when the impairment ended"))
            self._flush()
            now = dict(self._wires)
        os.eventfd_write(self._wake, 1)
        return now

    def send(self, frame: bytes, deadline: Deadline | None = None) -> None:
        """Send one frame; waits while QEMU takes none."""
        self.send_all((frame,), deadline)

    def send_all(self, frames: Iterable[bytes], deadline: Deadline | None = None) -> None:
        """Send frames in order; waits while QEMU takes none.

        Raises LinkError when the peer is gone, or took nothing until the deadline.
        """
        if threading.current_thread() is self._thread:
            raise LinkError("A subscriber called 'send', which may wait for itself.", hint="Use 'post' there.")
        with self._lock:
            for frame in frames:
                self._push(frame)
                if self._pending_bytes > _HIGH_WATER:
                    self._flush()
                    self._wait_for_room(deadline or Deadline(_PATIENCE))
            self._flush()

    def post(self, frame: bytes) -> None:
        """Send one frame without ever waiting; dropped and counted when the queue is full or the peer is gone."""
        with self._lock:
            if self._lost is not None or self._pending_bytes > _OVERFLOW:
                self.counters.dropped += 1
                return
            self._push(frame)
            self._flush()

    def drain(self, deadline: Deadline) -> int:
        """Throw away what is under way in both directions and begin a new epoch; returns how many frames that were.

        Meant for a machine that is paused or was just reverted. Frames that QEMU has read already are not
        reached; a fence before the revert takes care of those.
        """
        done = threading.Event()
        with self._lock:
            if self._lost is not None:
                raise LinkError(self._lost)
            unsent = list(self._pending)
            self._pending.clear()
            if self._head_begun:
                self._pending.append(unsent.pop(0))  # the other side has read its beginning and needs its end
            self._pending_bytes = sum(map(len, self._pending))
            self._drained_frames = len(unsent)
            for wire in self._wires.values():
                self._drained_frames += len(wire.flush(""))
            self._drain = done
        os.eventfd_write(self._wake, 1)
        if not done.wait(deadline.remaining()):
            raise deadline.expire("the link to be drained")
        with self._lock:
            self.counters.drained += self._drained_frames
            return self._drained_frames

    def close(self) -> None:
        """End the connection and the listening socket; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._detach("The link was closed.")
        self._listener.close()
        os.close(self._wake)

    def _detach(self, reason: str) -> None:
        with self._lock:
            connection, self._connection, thread = self._connection, None, self._thread
            if self._lost is None:
                self._lost = reason
            self._moved.notify_all()
        os.eventfd_write(self._wake, 1)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_PATIENCE)
        if connection is not None:
            connection.close()
        with self._lock:
            self._pending.clear()
            self._leaving.clear()
            for wire in self._wires.values():
                wire.flush("")
            self._pending_bytes, self._head_begun = 0, False

    def _push(self, frame: bytes) -> None:
        if self._lost is not None:
            raise LinkError(self._lost)
        wire = self._wires.get(Direction.TO_GUEST)
        if wire is None:
            self._enqueue(frame)
            return
        encode_frame(frame)  # one that cannot be sent is told to whoever sends it, not to a timer
        self._hand_on(Direction.TO_GUEST, wire.carry(frame, time.monotonic()))
        if self._leaving or wire.due is not None:
            os.eventfd_write(self._wake, 1)

    def _enqueue(self, frame: bytes, fate: str = "") -> None:
        encoded = encode_frame(frame)
        self._subscribers.tell(Direction.TO_GUEST, frame, time.monotonic(), fate)
        self._pending.append(encoded)
        self._pending_bytes += len(encoded)
        self.counters.sent += 1
        self.counters.sent_bytes += len(frame)

    def _hand_on(self, way: Direction, passages: Iterable[Passage]) -> None:
        """What a wire lets go of: to the guest into the queue, the rest to the serving thread; with the lock."""
        for passage in passages:
            if way is Direction.FROM_GUEST or passage.back:
                self._leaving.append((way, passage))
            elif passage.lost:
                self._subscribers.tell_fate(way, passage.frame, time.monotonic(), passage.fate)
            else:
                self._enqueue(passage.frame, passage.fate)

    def _release(self) -> None:
        """What is due by the host's clock leaves the wires; on the serving thread."""
        with self._lock:
            for way, wire in self._wires.items():
                self._hand_on(way, wire.release(time.monotonic()))
            self._flush()
        self._tell_leaving()

    def _tell_leaving(self) -> None:
        while self._leaving:
            way, passage = self._leaving.popleft()
            if passage.lost:
                self._subscribers.tell_fate(way, passage.frame, time.monotonic(), passage.fate)
            elif way is Direction.FROM_GUEST and passage.back:
                with self._lock:
                    self._enqueue(passage.frame, passage.fate)
                    self._flush()
            else:
                self._subscribers.tell(Direction.FROM_GUEST, passage.frame, time.monotonic(), passage.fate)

    def _until_due(self) -> int | None:
        """Milliseconds until a wire has something to release, rounded up; None when none has."""
        if not self._wires:
            return None
        with self._lock:
            due = min((wire.due for wire in self._wires.values() if wire.due is not None), default=None)
        return None if due is None else max(0, math.ceil((due - time.monotonic()) * 1e3))

    def _flush(self) -> None:
        """Hand to the kernel what it takes; the rest is the serving thread's to send."""
        connection = self._connection
        if connection is None:
            return
        while self._pending:
            try:
                sent = connection.sendmsg(list(islice(self._pending, 256)))
            except BlockingIOError:
                break
            except OSError:
                return  # the serving thread sees the same and tells
            self._pending_bytes -= sent
            while sent and sent >= len(self._pending[0]):
                sent -= len(self._pending.popleft())
                self._head_begun = False
            if sent:
                self._pending[0] = self._pending[0][sent:]
                self._head_begun = True
        if self._pending and threading.current_thread() is not self._thread:
            os.eventfd_write(self._wake, 1)
        if self._pending_bytes <= _HIGH_WATER:
            self._moved.notify_all()

    def _wait_for_room(self, deadline: Deadline) -> None:
        while self._pending_bytes > _HIGH_WATER and self._lost is None:
            if not self._moved.wait(deadline.remaining()) and deadline.expired:
                raise LinkError(
                    f"QEMU took no frame from the link for {deadline.seconds:.1f} s; {len(self._pending)} wait.",
                    hint="The guest is paused or hung, or its NIC is down.",
                )
        if self._lost is not None:
            raise LinkError(self._lost)

    def _serve(self, connection: socket.socket) -> None:
        decoder = FrameDecoder()
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        try:
            while self._connection is connection:
                poller.register(connection, select.POLLIN | (select.POLLOUT if self._pending else 0))
                ready = dict(poller.poll(self._until_due()))
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                if self._drain is not None:  # before anything is read: it belongs to the past
                    self._drain_stream(connection, decoder)
                    continue
                if self._wires or self._leaving:
                    self._release()
                events = ready.get(connection.fileno(), 0)
                if events & select.POLLOUT:
                    with self._lock:
                        self._flush()
                if events & ~select.POLLOUT:
                    self._receive(connection, decoder)
        except (HostError, OSError) as error:
            self._lose(connection, str(error))
        except Exception as error:  # a subscriber's mistake must be told, not die with a thread
            self._lose(connection, f"A subscriber of the link failed with {error!r}.")

    def _receive(self, connection: socket.socket, decoder: FrameDecoder) -> None:
        for frame in decoder.feed(_read(connection)):
            self.counters.received += 1
            self.counters.received_bytes += len(frame)
            if not self._wires and not self._leaving:
                self._subscribers.tell(Direction.FROM_GUEST, frame, time.monotonic())
                continue
            with self._lock:
                wire = self._wires.get(Direction.FROM_GUEST)
                passages = wire.carry(frame, time.monotonic()) if wire is not None else [Passage(frame)]
                self._hand_on(Direction.FROM_GUEST, passages)
                self._flush()
            self._tell_leaving()

    def _drain_stream(self, connection: socket.socket, decoder: FrameDecoder) -> None:
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        stale = 0
        while poller.poll(_QUIET_MS):
            stale += len(decoder.feed(_read(connection)))
        stale += decoder.forget_partial()
        with self._lock:
            stale += len(self._leaving)
            self._leaving.clear()
            self._drained_frames += stale
            self.epoch += 1
            done, self._drain = self._drain, None
        if done is not None:
            done.set()

    def _lose(self, connection: socket.socket, reason: str) -> None:
        with self._lock:
            if self._connection is not connection:
                return
            self._connection, self._lost = None, reason
            self._moved.notify_all()
            connection.close()
        for callback in self._lost_subscribers:
            callback(reason)


def _read(connection: socket.socket) -> bytes:
    try:
        data = connection.recv(1 << 18)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise LinkError(f"The link to QEMU broke: {error.strerror}.") from error
    if not data:
        raise LinkError("QEMU closed its end of the link.", hint="Look at the machine's log: it has ended or crashed.")
    return data
