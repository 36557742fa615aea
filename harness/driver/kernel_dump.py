"""The head of a Windows kernel dump of x64: what crashed, when, and which dump this is; and drivers' own data in it.

Layout: DUMP_HEADER64, 0x2000 bytes, little-endian, as the kit's debuggers read it; DUMP_TYPE from
https://learn.microsoft.com/en-us/windows-hardware/drivers/ddi/wdm/ns-wdm-_kbugcheck_add_pages. Behind the pages lies
what drivers gave for it (KbCallbackSecondaryDumpData), each under its GUID: DUMP_BLOB_FILE_HEADER, then
DUMP_BLOB_HEADER and data in turn. A dump comes from a guest that nobody trusts: all is read with bounds.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from harness.driver.crash import Crash
from harness.errors import GuestError

HEADER_SIZE = 0x2000
_SIGNATURE, _SIGNATURE_32 = b"PAGEDU64", b"PAGEDUMP"
_AMD64 = 0x8664
_FILLER = b"PAGE"
_TYPES = {
    1: "full",
    2: "kernel",
    3: "header",
    4: "small",
    5: "bitmap-full",
    6: "bitmap-kernel",
    7: "automatic",
}
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_LATEST = 0x7FFF35F4F06C58F0  # FILETIME of the end of the year 30828: Windows itself takes nothing later
_DECADES = timedelta(days=365 * 8000)

_BLOBS, _BLOB = struct.Struct("<8sII"), struct.Struct("<I16sIII")
_BLOB_SIGNATURE = b"DumpBlob"
_BLOBS_MAX, _BLOB_DATA_MAX, _PAD_MAX = 256, 16 << 20, 4096
_CONTEXT_RIP = 0x348 + 0xF8


class DumpUnreadable(GuestError):
    """A file is no kernel dump of x64 that can be read here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDump:
    """The head of a dump; `build` is Windows' build number, `time` UTC, None where the dump has none.

    `instruction` is where the processor stood that crashed. `is_complete`: the file is as long as the head says.
    """

    path: Path
    code: int
    parameters: tuple[int, int, int, int]
    kind: str
    build: int
    processors: int
    time: datetime | None
    up_seconds: float | None
    debugger_block: int
    instruction: int
    size: int
    wanted_size: int

    @property
    def is_complete(self) -> bool:
        """Whether the file has all that its head promises."""
        return self.size >= self.wanted_size

    @property
    def crash(self) -> Crash:
        """What it says of the crash."""
        return Crash(code=self.code, parameters=self.parameters, source=f"{self.path.name}")

    def as_record(self) -> dict[str, object]:
        """For crash.json."""
        return {
            "file": self.path.name,
            "kind": self.kind,
            "code": self.code,
            "parameters": [f"{value:#x}" for value in self.parameters],
            "build": self.build,
            "processors": self.processors,
            "time": self.time.isoformat() if self.time else None,
            "size": self.size,
            "complete": self.is_complete,
        }

    def __str__(self) -> str:
        when = f", {self.time:%Y-%m-%d %H:%M:%S} UTC" if self.time else ""
        short = "" if self.is_complete else f", cut off: {self.size} of {self.wanted_size} bytes"
        return f"{self.path.name}: {self.crash.title()}; {self.kind} dump of build {self.build}{when}{short}"


def read_dump(path: Path) -> KernelDump:
    """Read the head of a dump.

    Raises DumpUnreadable, which says what is there instead.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_SIZE)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise DumpUnreadable(f"The dump '{path}' cannot be read: {error.strerror}.") from error
    if head.startswith(_SIGNATURE_32):
        raise DumpUnreadable(f"'{path.name}' is a dump of a 32-bit Windows: one of x64 is wanted.")
    if head[:4] == b"MDMP":
        raise DumpUnreadable(f"'{path.name}' is a dump of a program, not of the kernel.")
    if not head.startswith(_SIGNATURE):
        began = head[:8].hex(" ") or "nothing"
        raise DumpUnreadable(
            f"'{path.name}' is no kernel dump: it begins with {began}, a dump with {_SIGNATURE.hex(' ')} (PAGEDU64).",
            hint="Windows writes the first bytes last: it may not have come to the end of its dump.",
        )
    if len(head) < HEADER_SIZE:
        raise DumpUnreadable(f"'{path.name}' is cut off in its head: {len(head)} bytes, {HEADER_SIZE} are wanted.")
    machine, processors, code = struct.unpack_from("<III", head, 0x30)
    if machine != _AMD64:
        raise DumpUnreadable(f"'{path.name}' is of a machine of type {machine:#x}: {_AMD64:#x} (x64) is wanted.")
    (kind,) = struct.unpack_from("<I", head, 0xF98)
    wanted = _number(head, 0xFA0, "<Q") or HEADER_SIZE
    a, b, c, d = struct.unpack_from("<4Q", head, 0x40)
    up_time = _number(head, 0x1030, "<Q")
    return KernelDump(
        path=path,
        code=code,
        parameters=(a, b, c, d),
        kind=_TYPES.get(kind, f"unknown ({kind})"),
        build=_number(head, 0x0C, "<I"),
        processors=processors,
        time=_time(_number(head, 0xFA8, "<Q")),
        up_seconds=up_time / 1e7 if up_time else None,
        debugger_block=_number(head, 0x80, "<Q"),
        instruction=_number(head, _CONTEXT_RIP, "<Q"),
        size=size,
        wanted_size=wanted,
    )


def read_driver_data(path: Path, tag: UUID) -> bytes | None:
    """What a driver put into a dump under this GUID; None where there is no such thing, or it cannot be read."""
    try:
        with _mapped(path) as content:
            if content is None:
                return None
            # It lies at the end; the same bytes may stand in a page as well, so that more than one place is tried.
            at = content.rfind(_BLOB_SIGNATURE, HEADER_SIZE)
            for _ in range(_BLOBS_MAX):
                if at < 0:
                    return None
                found = _blob(content, at, tag)
                if found is not None:
                    return found
                at = content.rfind(_BLOB_SIGNATURE, HEADER_SIZE, at)
    except (OSError, ValueError):
        return None
    return None


def _blob(content: mmap.mmap, at: int, tag: UUID) -> bytes | None:
    for key, begin, length in _blobs(content, at):
        if key == tag.bytes_le:
            return bytes(content[begin : begin + length])
    return None


def _blobs(content: mmap.mmap, at: int) -> Iterator[tuple[bytes, int, int]]:
    """GUID, place and length of each; ends at the first that makes no sense."""
    size = len(content)
    if at + _BLOBS.size > size or _BLOBS.unpack_from(content, at)[1] != _BLOBS.size:
        return
    at += _BLOBS.size
    for _ in range(_BLOBS_MAX):
        if at + _BLOB.size > size:
            return
        header_size, key, length, before, behind = _BLOB.unpack_from(content, at)
        begin = at + header_size + before
        sane = header_size == _BLOB.size and length <= _BLOB_DATA_MAX and before <= _PAD_MAX and behind <= _PAD_MAX
        if not sane or begin + length > size:
            return
        yield key, begin, length
        at = begin + length + behind


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | None]:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) <= HEADER_SIZE:
            yield None
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _number(head: bytes, at: int, form: str) -> int:
    """A member that Windows may have left unset: it is filled with 'PAGE' then, which is told as 0."""
    size = struct.calcsize(form)
    if head[at : at + size] == (_FILLER * 2)[:size]:
        return 0
    (value,) = struct.unpack_from(form, head, at)
    return int(value)


def _time(filetime: int) -> datetime | None:
    """FILETIME, 100 ns since 1601, as UTC; None for one that is not set or makes no sense."""
    since = timedelta(microseconds=min(filetime, _LATEST) // 10)
    return _EPOCH + since if 0 < filetime <= _LATEST and since < _DECADES else None
