"""Partitions disk 0 as the answer file says: GPT with a protective MBR (UEFI specification 2.10, chapter 5)."""

from __future__ import annotations

import fcntl
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SECTOR = 512
_ALIGN = (1 << 20) // SECTOR
_ENTRIES, _ENTRY_SIZE = 128, 128
_TABLE_SECTORS = _ENTRIES * _ENTRY_SIZE // SECTOR
_BLKRRPART = 0x125F
# https://learn.microsoft.com/windows/win32/api/winioctl/ns-winioctl-partition_information_gpt
TYPES = {
    "EFI": uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
    "MSR": uuid.UUID("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
    "Primary": uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
}


@dataclass(frozen=True)
class Wanted:
    """A partition of the answer file: its type, and MiB or None for all that is left."""

    kind: str
    mebibytes: int | None


@dataclass(frozen=True)
class Partition:
    """A partition on the disk, in sectors."""

    number: int
    kind: str
    first: int
    last: int
    guid: uuid.UUID


def first_disk() -> Path:
    """Disk 0: the first that is neither removable nor virtual. Raises ValueError when there is none."""
    for block in sorted(Path("/sys/block").iterdir()):
        if block.name.startswith(("sd", "nvme", "vd")) and (block / "removable").read_text().strip() == "0":
            return Path("/dev", block.name)
    raise ValueError("there is no disk to install to")


def partition_path(disk: Path, number: int) -> Path:
    """Device of a partition: sda3, nvme0n1p3."""
    return disk.with_name(f"{disk.name}{'p' if disk.name[-1].isdigit() else ''}{number}")


def plan(wanted: Sequence[Wanted], sectors: int) -> list[Partition]:
    """Lay the partitions out. Raises ValueError when the disk is too small for them."""
    first, usable = _ALIGN, sectors - _TABLE_SECTORS - 2
    made = []
    for number, entry in enumerate(wanted, 1):
        if entry.mebibytes is None:
            last = (usable + 1) // _ALIGN * _ALIGN - 1
        else:
            last = first + (entry.mebibytes << 20) // SECTOR - 1
        if last > usable or last < first:
            raise ValueError(
                f"partition {number} of {entry.mebibytes or 'no'} MiB does not fit on a disk of {sectors} sectors"
            )
        made.append(Partition(number, entry.kind, first, last, uuid.uuid4()))
        first = last + 1
    return made


def write_table(disk: BinaryIO, partitions: Sequence[Partition], sectors: int) -> None:
    """Wipe the ends of the disk and write both tables."""
    entries = b"".join(
        TYPES[p.kind].bytes_le + p.guid.bytes_le + struct.pack("<QQQ", p.first, p.last, 0) + _name(p.kind)
        for p in partitions
    ).ljust(_ENTRIES * _ENTRY_SIZE, b"\0")
    guid = uuid.uuid4()
    disk.seek(0)
    disk.write(bytes(_ALIGN * SECTOR))
    disk.seek((sectors - _ALIGN) * SECTOR)
    disk.write(bytes(_ALIGN * SECTOR))
    disk.seek(0)
    disk.write(_protective_mbr(sectors) + _header(guid, entries, 1, sectors - 1, 2, sectors) + entries)
    disk.seek((sectors - 1 - _TABLE_SECTORS) * SECTOR)
    disk.write(entries + _header(guid, entries, sectors - 1, 1, sectors - 1 - _TABLE_SECTORS, sectors))
    disk.flush()


def reread(disk: BinaryIO) -> None:
    """Have the kernel look at the new table."""
    fcntl.ioctl(disk.fileno(), _BLKRRPART)


def _protective_mbr(sectors: int) -> bytes:
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF))
    return (bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa"


def _header(guid: uuid.UUID, entries: bytes, own: int, other: int, table: int, sectors: int) -> bytes:
    def pack(crc: int) -> bytes:
        first, last = 2 + _TABLE_SECTORS, sectors - _TABLE_SECTORS - 2
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, own, other, first, last,
                           guid.bytes_le, table, _ENTRIES, _ENTRY_SIZE, zlib.crc32(entries))  # fmt: skip

    return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")


def _name(kind: str) -> bytes:
    names = {"EFI": "EFI system partition", "MSR": "Microsoft reserved partition", "Primary": "Basic data partition"}
    return names[kind].encode("utf-16-le").ljust(72, b"\0")
