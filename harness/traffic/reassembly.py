"""Putting fragments of IPv4 packets together, as the hosts on the link do (RFC 815's result, not its bookkeeping).

The fragments come from a guest: few packets at a time are waited for, none longer than IPv4 allows, and one whose
fragments contradict each other is forgotten.
"""

from __future__ import annotations

from harness.link.checksum import internet_checksum

_ETHERNET = 14
_MOST_WAITING = 16
_LONGEST = 65535


class Reassembly:
    """Packets of which not every fragment has come; the oldest gives way to a new one."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, dict[int, bytes]] = {}
        self._lengths: dict[bytes, int] = {}  # of the whole body, where the last fragment has come

    def put(self, frame: bytes) -> bytes | None:
        """Take a frame with a fragment and a sound IPv4 header; the frame of the whole packet when it is complete."""
        header_length = (frame[14] & 0x0F) * 4
        total = int.from_bytes(frame[16:18], "big")
        word = int.from_bytes(frame[20:22], "big")
        at, more = (word & 0x1FFF) * 8, bool(word & 0x2000)
        body = frame[_ETHERNET + header_length : _ETHERNET + total]
        key = frame[18:20] + frame[23:24] + frame[26:34]
        parts = self._parts_of(key)
        if at + len(body) > _LONGEST - 20 or (more and len(body) % 8) or not body:
            self._forget(key)
            return None
        parts[at] = body
        if not more:
            self._lengths[key] = at + len(body)
        whole = self._join(key)
        if whole is None:
            return None
        self._forget(key)
        header = bytearray(frame[_ETHERNET : _ETHERNET + 20])
        header[0] = 0x45
        header[2:4] = (20 + len(whole)).to_bytes(2, "big")
        header[6:8] = header[10:12] = b"\0\0"
        header[10:12] = internet_checksum(bytes(header)).to_bytes(2, "big")
        return frame[:_ETHERNET] + bytes(header) + whole

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._lengths.clear()

    def _parts_of(self, key: bytes) -> dict[int, bytes]:
        if key not in self._waiting and len(self._waiting) >= _MOST_WAITING:
            self._forget(next(iter(self._waiting)))
        return self._waiting.setdefault(key, {})

    def _join(self, key: bytes) -> bytes | None:
        """The body, if the fragments follow each other to the end without a gap and without lying over each other."""
        length, whole = self._lengths.get(key), bytearray()
        if length is None:
            return None
        for at, body in sorted(self._waiting[key].items()):
            if at != len(whole):
                if at < len(whole):
                    self._forget(key)
                return None
            whole += body
        return bytes(whole) if len(whole) == length else None

    def _forget(self, key: bytes) -> None:
        self._waiting.pop(key, None)
        self._lengths.pop(key, None)
