"""Records of a pcapng file (draft-ietf-opsawg-pcapng): every section in its own byte order, with its own interfaces."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from harness.capture.records import Damage, Record, Source

SECTION = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _OBSOLETE, _SIMPLE, _ENHANCED = 1, 2, 3, 6
_PACKETS = (_OBSOLETE, _SIMPLE, _ENHANCED)
_FLAGS, _RESOLUTION, _OFFSET = 2, 9, 14
_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_SECOND = 1_000_000_000
_OUTGOING = {1: False, 2: True}


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    ticks: int  # in a second
    offset: int  # seconds


def records(source: Source) -> Iterator[Record]:
    """The records of a file whose first four bytes, those of a section, have been read; raises Damage."""
    order = _begin_section(source)
    interfaces: list[_Interface] = []
    while (word := source.begin(4, "a block")) is not None:
        if word == SECTION:
            order, interfaces = _begin_section(source), []
            continue
        (kind,) = struct.unpack(order + "I", word)
        begins = source.at - 4
        (length,) = struct.unpack(order + "I", source.take(4, "a block"))
        if length < 12:
            raise Damage(f"a block at byte {begins} announces {length} bytes, 12 is the least")
        size = length - 12 + -length % 4
        if kind != _INTERFACE and kind not in _PACKETS:
            source.skip(size, "a block")
        else:
            body = source.take(size, "a packet" if kind in _PACKETS else "a block")
            if kind == _INTERFACE:
                interfaces.append(_interface(order, body, begins))
            else:
                yield _packet(order, kind, body, interfaces, begins)
        (again,) = struct.unpack(order + "I", source.take(4, "a block"))
        if again != length:
            raise Damage(f"the block at byte {begins} says at its end that it has {again} bytes, at its begin {length}")


def _begin_section(source: Source) -> str:
    length, magic = source.take(4, "a section"), source.take(4, "a section")
    order = _ORDERS.get(magic)
    if order is None:
        raise Damage(f"the section that ends at byte {source.at} has no byte order: {magic.hex(' ')}")
    (size,) = struct.unpack(order + "I", length)
    (major,) = struct.unpack(order + "H", source.take(2, "a section"))
    if major != 1:
        raise Damage(f"it is of version {major} of pcapng, and only version 1 is known")
    if size < 28:
        raise Damage(f"a section announces {size} bytes, 28 is the least")
    source.skip(size - 14 + -size % 4, "a section")
    return order


def _interface(order: str, body: bytes, at: int) -> _Interface:
    if len(body) < 8:
        raise Damage(f"the interface at byte {at} is too short")
    link_type, _, snap_length = struct.unpack_from(order + "HHI", body)
    options = _options(order, body[8:])
    resolution = options.get(_RESOLUTION, b"\x06")[:1] or b"\x06"
    exponent = resolution[0] & 0x7F
    ticks = 2**exponent if resolution[0] & 0x80 else 10**exponent
    offset = options.get(_OFFSET, b"")
    seconds = struct.unpack(order + "q", offset)[0] if len(offset) == 8 else 0
    return _Interface(link_type, snap_length, ticks, seconds)


def _packet(order: str, kind: int, body: bytes, interfaces: list[_Interface], at: int) -> Record:
    least = 4 if kind == _SIMPLE else 20
    if len(body) < least:
        raise Damage(f"the packet at byte {at} is too short: {len(body)} bytes")
    high = low = number = 0
    if kind == _SIMPLE:
        (length,) = struct.unpack_from(order + "I", body)
        captured = min(length, len(body) - 4)
    elif kind == _ENHANCED:
        number, high, low, captured, length = struct.unpack_from(order + "IIIII", body)
    else:
        number, _, high, low, captured, length = struct.unpack_from(order + "HHIIII", body)
    if number >= len(interfaces):
        raise Damage(
            f"the packet at byte {at} is of interface {number}, and {len(interfaces)} were described before it"
        )
    interface = interfaces[number]
    if kind == _SIMPLE and interface.snap_length:
        captured = min(captured, interface.snap_length)
    if captured > len(body) - least:
        raise Damage(f"the packet at byte {at} announces {captured} bytes, its block has {len(body) - least}")
    options = _options(order, body[least + captured + -captured % 4 :]) if kind != _SIMPLE else {}
    time = ((high << 32) + low) * _SECOND // interface.ticks + interface.offset * _SECOND
    return Record(
        interface.link_type, None if kind == _SIMPLE else time, body[least : least + captured], length,
        _direction(order, options.get(_FLAGS, b"")),
    )  # fmt: skip


def _direction(order: str, flags: bytes) -> bool | None:
    return _OUTGOING.get(struct.unpack(order + "I", flags)[0] & 3) if len(flags) == 4 else None


def _options(order: str, data: bytes) -> dict[int, bytes]:
    """The first value of each option; what is broken ends them, as no option is needed to read on."""
    options: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, at)
        if code == 0 or at + 4 + length > len(data):
            break
        options.setdefault(code, data[at + 4 : at + 4 + length])
        at += 4 + length + -length % 4
    return options
