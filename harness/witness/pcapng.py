"""Writing pcapng (Ethernet, nanoseconds, a comment and the direction for each frame), block by block as frames come.

Only what the witness needs; Wireshark and Scapy read it. Scapy's own writer wants a packet object for each
frame, which is too slow for a path that sees all of them.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from harness.errors import HostError
from harness.link import Direction

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_OPT_END, _OPT_COMMENT = 0, 1
_SECTION_APPLICATION, _INTERFACE_NAME, _INTERFACE_RESOLUTION, _PACKET_FLAGS = 4, 2, 9, 2
_ETHERNET = 1
_LONGEST_COMMENT = 0xFFF0  # the length of an option has 16 bits
# The interface is the harness' end of the link: what comes from the guest is inbound.
_FLAGS = {Direction.FROM_GUEST: 1, Direction.TO_GUEST: 2}


class PcapngWriter:
    """A pcapng file with one interface, written from the first frame on."""

    def __init__(self, path: Path, *, interface: str) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("wb", buffering=1 << 18)
        except OSError as error:
            raise HostError(f"The capture '{path}' cannot be written: {error.strerror}.") from error
        header = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        self._offset = 0
        self._write(_SECTION, header + _option(_SECTION_APPLICATION, b"wfp-hil") + _option(_OPT_END, b""))
        options = _option(_INTERFACE_NAME, interface.encode()) + _option(_INTERFACE_RESOLUTION, b"\x09")
        self._write(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, 0) + options + _option(_OPT_END, b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, frame: bytes, *, nanoseconds: int, direction: Direction, comment: str) -> int:
        """Append one frame (time since 1970); returns where in the file its bytes begin."""
        at = self._offset + 28
        options = _option(_OPT_COMMENT, comment.encode(errors="replace")[:_LONGEST_COMMENT]) if comment else b""
        options += _option(_PACKET_FLAGS, struct.pack("<I", _FLAGS[direction])) + _option(_OPT_END, b"")
        head = struct.pack("<IIIII", 0, nanoseconds >> 32, nanoseconds & 0xFFFFFFFF, len(frame), len(frame))
        self._write(_PACKET, head + _padded(frame) + options)
        return at

    def flush(self) -> None:
        """Have everything that was written visible to readers of the file."""
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """End the file; idempotent."""
        self._file.close()

    def _write(self, kind: int, body: bytes) -> None:
        length = struct.pack("<I", len(body) + 12)
        self._file.write(struct.pack("<I", kind) + length + body + length)
        self._offset += len(body) + 12


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)
