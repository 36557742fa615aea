"""A capture as a value: its packets, what is to be said about the file, and parts of it."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from harness.capture.conversation import Conversation, conversations_of
from harness.capture.packet import Packet
from harness.errors import HostError

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_RAW_IP = 101  # LINKTYPE_RAW
_NANOSECONDS = b"\x09"
_COMMENT, _FLAGS, _RESOLUTION, _APPLICATION = 1, 2, 9, 4


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a capture that its user has to know; `number` is that of the packet, None for the whole file."""

    number: int | None
    text: str

    def __str__(self) -> str:
        return self.text if self.number is None else f"Packet {self.number}: {self.text}"


@dataclass(frozen=True, slots=True)
class Capture:
    """Packets in the order of the file, and what is to be said about it."""

    packets: tuple[Packet, ...]
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.packets)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Places in the file of its packets."""
        return tuple(packet.number for packet in self.packets)

    def conversations(self) -> tuple[Conversation, ...]:
        """Its conversations, in the order of their first packets; a packet with a broken IP header is in none."""
        return conversations_of(self.packets)

    def keeping(self, numbers: Collection[int]) -> Capture:
        """The capture with only the packets of these numbers, which they keep."""
        wanted = frozenset(numbers)
        notes = tuple(note for note in self.notes if note.number is None or note.number in wanted)
        return replace(self, packets=tuple(p for p in self.packets if p.number in wanted), notes=notes)

    def write(self, path: Path) -> None:
        """Write it as pcapng of raw IP packets with nanoseconds; each packet's comment tells its number here.

        Raises HostError when the file cannot be written.
        """
        header = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        blocks = [
            _block(_SECTION, header + _option(_APPLICATION, b"wfp-hil") + _option(0, b"")),
            _block(
                _INTERFACE, struct.pack("<HHI", _RAW_IP, 0, 0) + _option(_RESOLUTION, _NANOSECONDS) + _option(0, b"")
            ),
        ]
        blocks += [_packet_block(packet) for packet in self.packets]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(blocks))
        except OSError as error:
            raise HostError(f"The capture '{path}' cannot be written: {error.strerror}.") from error


def _packet_block(packet: Packet) -> bytes:
    options = _option(_COMMENT, f"packet {packet.number}".encode())
    if packet.outgoing is not None:
        options += _option(_FLAGS, struct.pack("<I", 2 if packet.outgoing else 1))
    time = packet.time & 0xFFFFFFFF_FFFFFFFF
    head = struct.pack("<IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(packet.data), packet.length)
    return _block(_PACKET, head + packet.data + bytes(-len(packet.data) % 4) + options + _option(0, b""))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
