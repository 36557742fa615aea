"""What a driver file says of itself in its version resource."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pefile

_RESOURCES = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_RESOURCE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionResource:
    """The fixed numbers, the kind of file (3: driver) and the texts by name."""

    file_version: str
    product_version: str
    file_type: int
    texts: dict[str, str]


def read_version(path: Path) -> VersionResource | None:
    """The version resource of an image; None where there is none that can be read."""
    try:
        pe: Any = pefile.PE(name=str(path), fast_load=True)  # type: ignore[no-untyped-call]
    except (pefile.PEFormatError, OSError):
        return None
    with pe:
        return version_of(pe)


def version_of(pe: Any) -> VersionResource | None:
    """The version resource of an image that is open."""
    pe.parse_data_directories([_RESOURCES])
    fixed = next(iter(getattr(pe, "VS_FIXEDFILEINFO", ())), None)
    if fixed is None:
        return None
    texts: dict[str, str] = {}
    for block in (block for blocks in getattr(pe, "FileInfo", ()) for block in blocks):
        for table in getattr(block, "StringTable", ()):
            texts |= {_text(key): _text(value) for key, value in table.entries.items()}
    return VersionResource(
        file_version=_numbers(fixed.FileVersionMS, fixed.FileVersionLS),
        product_version=_numbers(fixed.ProductVersionMS, fixed.ProductVersionLS),
        file_type=fixed.FileType,
        texts=texts,
    )


def _numbers(high: int, low: int) -> str:
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace").rstrip("\0")
