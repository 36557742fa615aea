"""Records of a pcap file (draft-ietf-opsawg-pcap): both byte orders, microseconds and nanoseconds."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from harness.capture.records import Record, Source

# The first four bytes: byte order, and nanoseconds in a unit of the fraction.
MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}


def records(source: Source, magic: bytes) -> Iterator[Record]:
    """The records that follow the magic number, which has been read; raises Damage."""
    order, unit = MAGICS[magic]
    header = source.take(20, "the file's header")
    # The upper bits of the link type tell of a frame check sequence.
    (network,) = struct.unpack(order + "I", header[16:])
    link_type = network & 0xFFFF
    fcs = (network >> 28) * 2 if network & 0x04000000 else 0
    record = struct.Struct(order + "IIII")
    while (head := source.begin(16, "a packet's header")) is not None:
        seconds, fraction, captured, length = record.unpack(head)
        data = source.take(captured, "a packet")
        if fcs and captured == length:
            data, length = data[:-fcs], max(length - fcs, 0)
        yield Record(link_type, seconds * 1_000_000_000 + fraction * unit, data, length)
