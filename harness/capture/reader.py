"""Reading a capture file: its IP packets, within limits, and a note for everything that is not as one would think."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.capture.capture import Capture, Note
from harness.capture.link_layer import KNOWN, Unwrapped, unwrap
from harness.capture.packet import Packet
from harness.capture.records import Damage, Record, Source, records
from harness.errors import CaptureError

Progress = Callable[[int, int], None]
"""Called now and then with the bytes of the file that have been read, and all that it has."""

_MOST_NOTES = 50  # of one kind that name their packet
_EVERY = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is kept in memory: so many packets, and so many bytes of them."""

    packets: int = 200_000
    bytes: int = 256 << 20


def read(
    path: Path,
    limits: Limits | None = None,
    *,
    choose: Callable[[Packet], bool] | None = None,
    progress: Progress | None = None,
) -> Capture:
    """The IP packets of a pcap or pcapng file, of those that `choose` takes; a file of any size is gone through once.

    Raises CaptureError when it cannot be read, holds no IP, or more than the limits allow.
    """
    reading = _Reading(path, limits or Limits(), choose)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            reading.run(Source(file), size, progress)
    except OSError as error:
        raise CaptureError(f"The capture '{path}' cannot be read: {error.strerror}.") from error
    return reading.result()


@dataclass(slots=True)
class _Reading:
    """A file while it is read."""

    path: Path
    limits: Limits
    choose: Callable[[Packet], bool] | None
    packets: list[Packet] = field(default_factory=list)
    held: int = 0
    frames: int = 0
    chosen_away: int = 0
    others: Counter[str] = field(default_factory=Counter)
    first_other: int = 0
    vlans: Counter[int] = field(default_factory=Counter)
    cut: list[int] = field(default_factory=list)
    timeless: int = 0
    damage: str = ""
    last_time: int = 0

    def run(self, source: Source, size: int, progress: Progress | None) -> None:
        try:
            for record in records(source):
                self.frames += 1
                self._take(record)
                if progress is not None and self.frames % _EVERY == 0:
                    progress(source.at, size)
        except Damage as damage:
            self.damage = str(damage)
        if progress is not None:
            progress(source.at, size)

    def result(self) -> Capture:
        """The capture; raises CaptureError where there is none."""
        if self.damage and not self.frames:
            hint = "Unpack it first: gunzip." if "gzip" in self.damage else "It has to be a pcap or pcapng file."
            raise CaptureError(f"The capture '{self.path}' cannot be read: {self.damage}.", hint=hint)
        if not self.packets and self.chosen_away:
            raise CaptureError(
                f"None of the {self.chosen_away} IP packets in the capture '{self.path}' was chosen.",
                hint="Ask for other packets or hosts.",
            )
        if not self.packets:
            seen = f": {self._others()}" if self.others else ""
            raise CaptureError(
                f"The capture '{self.path}' holds {_count(self.frames, 'frame')} and no IP packet{seen}.",
                hint=f"IP is looked for in {KNOWN}.",
            )
        return Capture(tuple(self.packets), tuple(self._notes()))

    def _take(self, record: Record) -> None:
        inner = unwrap(record.link_type, record.data)
        time = record.time if record.time is not None else self.last_time
        self.last_time = time
        packet = None if inner.other else _packet(self.frames, time, record, inner)
        if packet is None:
            self.others[inner.other or "broken IP"] += 1
            self.first_other = self.first_other or self.frames
            return
        if self.choose is not None and not self.choose(packet):
            self.chosen_away += 1
            return
        self.held += len(packet.data)
        if len(self.packets) >= self.limits.packets or self.held > self.limits.bytes:
            raise CaptureError(
                f"The capture '{self.path}' holds more than the {self.limits.packets} packets or "
                f"{self.limits.bytes >> 20} MB that are taken at a time; packet {self.frames} was one too many.",
                hint="Choose some of them, by number or by host.",
            )
        self.packets.append(packet)
        self.vlans.update(inner.vlans)
        self.timeless += record.time is None
        if packet.is_cut:
            self.cut.append(packet.number)

    def _others(self) -> str:
        return ", ".join(f"{count} of {name}" for name, count in self.others.most_common(8))

    def _notes(self) -> list[Note]:
        notes = []
        if self.damage:
            notes.append(
                Note(
                    None,
                    f"The file cannot be followed behind its packet {self.frames}: {self.damage}.",
                )
            )
        if self.others:
            total = _count(self.others.total(), "frame")
            notes.append(
                Note(
                    None,
                    f"{total} without an IP packet left out: {self._others()}; the first is number {self.first_other}.",
                )
            )
        if self.vlans:
            tags = ", ".join(str(vlan) for vlan in sorted(self.vlans)[:16])
            notes.append(Note(None, f"{_count(self.vlans.total(), 'VLAN tag')} taken off: VLAN {tags}."))
        if self.timeless:
            notes.append(
                Note(None, f"{_count(self.timeless, 'packet')} without a time: that of the one before was taken.")
            )
        by_number = {packet.number: packet for packet in self.packets} if self.cut else {}
        for number in self.cut[:_MOST_NOTES]:
            packet = by_number[number]
            text = f"It was cut by the capture: {len(packet.data)} bytes of {packet.length} are there."
            notes.append(Note(number, text))
        if len(self.cut) > _MOST_NOTES:
            notes.append(Note(None, f"{len(self.cut)} packets in all were cut by the capture."))
        return notes


def _packet(number: int, time: int, record: Record, inner: Unwrapped) -> Packet | None:
    """The IP packet of a frame, without what the link layer added; None when it has no IP header."""
    data = inner.data
    missing = max(record.length - len(record.data), 0)
    least, announced = 20, int.from_bytes(data[2:4], "big")
    version = data[0] >> 4 if data else 0
    if version == 6:
        least, announced = 40, int.from_bytes(data[4:6], "big")
        announced += 40 if announced else 0
    if version not in (4, 6) or len(data) < least or (version == 4 and not 20 <= (data[0] & 15) * 4 <= len(data)):
        return None
    # A length of zero: the sender's own capture, before its adapter cut the segment (offload).
    length = announced or len(data) + missing
    length = max(announced or len(data) + missing, least)
    outgoing = record.outgoing if inner.outgoing is None else inner.outgoing
    return Packet(number, time, data[:length], length, outgoing, inner.source_mac)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
