"""QEMU's framing of Ethernet over a byte stream: a length of 4 bytes, big-endian, then the frame.

The sender of the other side is a guest that may be hostile, so lengths are never believed.
"""

from __future__ import annotations

import struct

from harness.errors import LinkError, UsageError

# NET_BUFSIZE of QEMU: it ends the connection over anything longer, and never sends it.
MAX_FRAME = 4096 + 65536

_LENGTH = struct.Struct(">I")


def encode_frame(frame: bytes) -> bytes:
    """The frame as it goes into the stream."""
    if not 0 < len(frame) <= MAX_FRAME:
        raise UsageError(
            f"A frame of {len(frame)} bytes cannot be sent; QEMU takes 1 to {MAX_FRAME}.",
            hint="Fragment it, or lower its payload.",
        )
    return _LENGTH.pack(len(frame)) + frame


class FrameDecoder:
    """Cuts a byte stream into frames, however it was chopped on its way."""

    __slots__ = ("_buffer", "_skip")

    def __init__(self) -> None:
        self._buffer = b""
        self._skip = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes.

        Raises LinkError for a length that no frame has: the stream can no longer be followed.
        """
        if self._buffer:
            data = self._buffer + data
        frames: list[bytes] = []
        position, end = 0, len(data)
        while end - position >= 4:
            (length,) = _LENGTH.unpack_from(data, position)
            if not 0 < length <= MAX_FRAME:
                raise LinkError(
                    f"The other side of the link announced a frame of {length} bytes; 1 to {MAX_FRAME} are possible.",
                    hint="Whatever connected does not speak QEMU's framing, or the stream was damaged.",
                )
            if end - position - 4 < length:
                break
            frames.append(data[position + 4 : position + 4 + length])
            position += 4 + length
        self._buffer = data[position:]
        if frames and self._skip:
            del frames[0]
            self._skip = False
        return frames

    def forget_partial(self) -> bool:
        """Drop the frame that has begun but not ended, once its end has come; whether there was one."""
        self._skip = bool(self._buffer)
        return self._skip
