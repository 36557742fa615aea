"""Records of a capture file, one after the other: bytes of a frame, its link type, time and length on the wire.

Scapy has readers for both formats. They are not used here, as they take the end of a file that was cut off for its
end, keep the interfaces of one section of a pcapng file for the next, know no `if_tsoffset`, and read a block of four
gigabytes whole because its length says so. The tests hold these against files that Scapy wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

LONGEST_RECORD = 16 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """A frame: `time` in nanoseconds since 1970 (None where the file has none), `length` on the wire in bytes."""

    link_type: int
    time: int | None
    data: bytes
    length: int
    outgoing: bool | None = None


class Damage(Exception):
    """The file cannot be followed from here on; the message says why and where, as the end of a sentence."""


class Source:
    """A file that is read once, from its beginning, and never further than is wanted."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.at = 0

    def take(self, count: int, what: str) -> bytes:
        """So many bytes; raises Damage when the file has fewer, or when they are more than any record has."""
        if count > LONGEST_RECORD:
            raise Damage(f"{what} at byte {self.at} announces {count} bytes, at most {LONGEST_RECORD} are believed")
        data = self._file.read(count)
        if len(data) < count:
            raise Damage(f"it ends in the middle of {what} at byte {self.at}: {count} bytes were due, {len(data)} came")
        self.at += count
        return data

    def begin(self, count: int, what: str) -> bytes | None:
        """So many bytes, or None at the end of the file."""
        first = self._file.read(1)
        if not first:
            return None
        self.at += 1
        return first + self.take(count - 1, what)

    def skip(self, count: int, what: str) -> None:
        """Pass so many bytes over; raises Damage when the file has fewer."""
        while count:
            part = min(count, _CHUNK)
            self.take(part, what)
            count -= part


def records(source: Source) -> Iterator[Record]:
    """The records of a pcap or pcapng file; raises Damage where it cannot be followed any more."""
    from harness.capture import pcap, pcapng

    magic = source.take(4, "the file's first word")
    if magic == pcapng.SECTION:
        return pcapng.records(source)
    if magic in pcap.MAGICS:
        return pcap.records(source, magic)
    if magic[:2] == b"\x1f\x8b":
        raise Damage("it is compressed with gzip")
    raise Damage(f"it begins with {magic.hex(' ')}, and neither pcap nor pcapng does")
