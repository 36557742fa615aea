"""The witness itself: listens on a link, writes the capture, and answers questions about what it saw.

Frames live in the capture file and are read back when they are asked for, so that a flood costs disk, not memory.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness import steps
from harness.errors import UsageError
from harness.link import Direction, Link
from harness.link.headers import PROTOCOL_NAMES, address_text, parse_ip
from harness.steps import StepEvent
from harness.witness.frame import WitnessedFrame
from harness.witness.pcapng import PcapngWriter

Flow = tuple[str, str, int, str, int]
"""Protocol, source, source port, destination, destination port: one direction of a conversation."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the sequence of frames; what comes after it has a greater number."""

    number: int


@dataclass(frozen=True, slots=True)
class _Entry:
    offset: int
    length: int
    time: float
    direction: Direction
    comment: str
    fate: str
    epoch: int


class Witness:
    """What a link saw, from the moment this was made."""

    def __init__(self, link: Link, path: Path, *, far: bool = False) -> None:
        self._link = link
        self.place = "far.witness" if far else "witness"
        self._called = "far frame" if far else "frame"
        self.path = path
        self._lock = threading.Lock()  # guards everything below
        self._writer = PcapngWriter(path, interface="test1" if far else "test0")
        self._reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._wall = time.time_ns() - time.monotonic_ns()
        weakref.finalize(self, os.close, self._reader)  # after `close`, as questions are still answered then
        self._entries: list[_Entry] = []
        self._flows: defaultdict[Flow | None, list[int]] = defaultdict(list)
        self._troubled: list[int] = []
        # Frames arrive on the link's thread, steps are those of the thread that made the witness.
        self._owner = threading.get_ident()
        self._step = steps.current()
        self._unsubscribe: tuple[Callable[[], None], ...] = (
            steps.subscribe(self._on_step),
            link.observe(self._on_frame),
        )
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Stop listening and end the file; questions are still answered. Idempotent."""
        if self._closed:
            return
        self._closed = True
        subscriptions, self._unsubscribe = (
            self._unsubscribe,
            (),
        )  # they hold this witness, and it its capture's descriptor
        for unsubscribe in subscriptions:
            unsubscribe()
        with self._lock:
            self._writer.close()

    def mark(self) -> Mark:
        """The present place in the sequence, for `since`."""
        with self._lock:
            return Mark(len(self._entries))

    def frames(self, *, since: Mark | None = None) -> list[WitnessedFrame]:
        """All frames, oldest first."""
        with self._lock:
            return self._load(range(since.number if since else 0, len(self._entries)))

    def select(
        self,
        *,
        proto: str | None = None,
        src: str | None = None,
        dst: str | None = None,
        sport: int | None = None,
        dport: int | None = None,
        direction: Direction | str | None = None,
        payload: bytes | None = None,
        flags: str | None = None,
        since: Mark | None = None,
    ) -> list[WitnessedFrame]:
        """Frames for which everything given holds, oldest first.

        `src` and `dst` are an address or `address:port`; `payload` is contained in the frame's payload; `flags` are
        TCP flags that must all be set, such as "SA", with a `!` before those that must not, such as "S!A".
        """
        wanted_direction = _direction(direction)
        source, sport = _split(src, sport)
        destination, dport = _split(dst, dport)
        wanted: Flow | tuple[object, ...] = (proto, source, sport, destination, dport)
        with self._lock:
            numbers = sorted(
                number
                for flow, members in self._flows.items()
                if all(w is None or (flow is not None and w == f) for w, f in zip(wanted, flow or wanted, strict=True))
                for number in members
                if since is None or number >= since.number
            )
            if wanted_direction is not None:
                numbers = [number for number in numbers if self._entries[number].direction is wanted_direction]
            found = self._load(numbers)
        if payload is not None:
            found = [frame for frame in found if payload in frame.payload]
        if flags is not None:
            must, _, must_not = flags.partition("!")
            found = [f for f in found if set(must) <= set(f.flags) and not set(must_not) & set(f.flags)]
        return found

    def troubled(self, *, since: Mark | None = None) -> list[WitnessedFrame]:
        """Frames with a wrong length or checksum; their `trouble` says which."""
        with self._lock:
            return self._load(number for number in self._troubled if since is None or number >= since.number)

    def flows(self) -> dict[Flow, int]:
        """Number of frames of every flow."""
        with self._lock:
            return {flow: len(members) for flow, members in self._flows.items() if flow is not None}

    def _load(self, numbers: Iterator[int] | range | list[int]) -> list[WitnessedFrame]:
        self._writer.flush()
        loaded = []
        for number in numbers:
            entry = self._entries[number]
            loaded.append(
                WitnessedFrame(
                    number=number + 1,
                    time=entry.time,
                    direction=entry.direction,
                    raw=os.pread(self._reader, entry.length, entry.offset),
                    comment=entry.comment,
                    fate=entry.fate,
                    epoch=entry.epoch,
                    called=self._called,
                )
            )
        return loaded

    def _on_step(self, event: StepEvent) -> None:
        if threading.get_ident() == self._owner:
            open_steps = steps.current()
            self._step = " > ".join(filter(None, (open_steps, event.title))) if event.kind == "start" else open_steps

    def _on_frame(self, direction: Direction, frame: bytes, received: float, fate: str) -> None:
        packet = parse_ip(frame)
        flow: Flow | None = None
        comment = f"{direction}: {self._step}" if self._step else str(direction)
        if packet is not None:
            name = PROTOCOL_NAMES.get(packet.protocol, f"ip-{packet.protocol}")
            sport, dport = packet.ports
            flow = (name, address_text(packet.source), sport, address_text(packet.destination), dport)
            if packet.trouble is not None:
                comment += f"; {packet.trouble}"
        if fate:
            comment += f"; the wire: {fate}"
        with self._lock:
            if self._closed:
                return
            nanoseconds = int(received * 1e9) + self._wall
            offset = self._writer.write(frame, nanoseconds=nanoseconds, direction=direction, comment=comment)
            number = len(self._entries)
            self._entries.append(_Entry(offset, len(frame), received, direction, comment, fate, self._link.epoch))
            self._flows[flow].append(number)
            if packet is not None and packet.trouble is not None:
                self._troubled.append(number)


def _direction(direction: Direction | str | None) -> Direction | None:
    if direction is None:
        return None
    try:
        return Direction(direction)
    except ValueError as error:
        raise UsageError(f"'{direction}' is no direction.", hint="'to-guest' and 'from-guest' are.") from error


def _split(end: str | None, port: int | None) -> tuple[str | None, int | None]:
    """An end that may carry its port: '192.0.2.2', '192.0.2.2:80', '2001:db8::2' or '[2001:db8::2]:80'."""
    if end is None:
        return None, port
    if end.startswith("["):
        address, _, number = end[1:].partition("]:")
    elif end.count(":") == 1:
        address, _, number = end.partition(":")
    else:
        return end, port
    if not number.isdecimal() or (port is not None and port != int(number)):
        raise UsageError(f"'{end}' is no address with a port.", hint="Write '192.0.2.2:80' or '[2001:db8::2]:80'.")
    return address, int(number)
