"""The initial RAM disk: a cpio archive in the kernel's `newc` format, written here so that no host tool is needed."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path


def write_initrd(tree: Path, target: Path) -> None:
    """Pack a file tree; all belongs to root, times are zero, so that equal trees give equal archives."""
    with gzip.GzipFile(target, "wb", compresslevel=1, mtime=0) as archive:
        number = 0
        for path in sorted(tree.rglob("*")):
            number += 1
            status = path.lstat()
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            archive.write(_entry(str(path.relative_to(tree)), number, status.st_mode, content))
        archive.write(_entry("dev/console", number + 1, stat.S_IFCHR | 0o600, b"", device=(5, 1)))
        archive.write(_entry("TRAILER!!!", 0, 0, b""))


def _entry(name: str, number: int, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(f"{value:08X}".encode() for value in fields) + encoded
    return _pad(header) + _pad(content)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
