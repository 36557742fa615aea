"""Reads an uncompressed WIM: images by name or index, and the place of each file in the archive.

The format is in Microsoft's white paper "Windows Imaging File Format (WIM)"; offsets below are those of its tables.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

_METADATA, _COMPRESSED = 0x02, 0x04
_LIMIT = 64 << 20  # neither metadata nor XML of a sane archive is larger
_DENTRY = struct.Struct("<QIiQ16x24x20sIQHHH")


@dataclass(frozen=True)
class Resource:
    """A piece of the archive."""

    offset: int
    size: int
    flags: int


@dataclass(frozen=True)
class Image:
    """One of the images that the archive's XML describes."""

    index: int
    name: str
    architecture: int | None
    edition: str


class Wim:
    """An archive on the medium."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header = self._read(0, 208)
        if header[:8] != b"MSWIM\0\0\0":
            raise ValueError(f"{path} is no WIM")
        self._blobs: dict[bytes, Resource] = {}
        self._metadata: list[Resource] = []
        table = self._resource(header, 0x30)
        entries = self._read(table.offset, table.size)
        for start in range(0, len(entries) - 49, 50):
            resource = self._resource(entries, start)
            if resource.flags & _METADATA:
                self._metadata.append(resource)
            else:
                self._blobs[entries[start + 30 : start + 50]] = resource
        xml = self._resource(header, 0x48)
        self.images = tuple(_read_images(self._read(xml.offset, xml.size).decode("utf-16")))

    def files(self, index: int) -> dict[str, Resource]:
        """All files of an image by their path, with '/' between folders."""
        place = self._metadata[index - 1]
        metadata = self._read(place.offset, place.size)
        (security,) = struct.unpack_from("<I", metadata)
        root = -(-max(security, 8) // 8) * 8
        found: dict[str, Resource] = {}
        _, _, _, children, *_ = _DENTRY.unpack_from(metadata, root)
        self._walk(metadata, children, "", found)
        return found

    def _walk(self, metadata: bytes, place: int, folder: str, found: dict[str, Resource]) -> None:
        while struct.unpack_from("<Q", metadata, place)[0] > 8:
            length, attributes, _, children, digest, _, _, streams, _, name_size = _DENTRY.unpack_from(metadata, place)
            if streams:
                raise ValueError("files with further streams are not read here")
            start = place + _DENTRY.size
            name = folder + metadata[start : start + name_size].decode("utf-16-le")
            if attributes & 0x10:
                self._walk(metadata, children, name + "/", found)
            elif digest != bytes(20):
                found[name] = self._blobs[digest]
            place += -(-length // 8) * 8

    def read(self, resource: Resource) -> bytes:
        """The content of a small file."""
        if resource.flags & _COMPRESSED:
            raise ValueError("compressed files are not read here")
        return self._read(resource.offset, resource.size)

    def _read(self, offset: int, size: int) -> bytes:
        if size > _LIMIT:
            raise ValueError(f"a piece of {size} bytes is too large")
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    @staticmethod
    def _resource(data: bytes, start: int) -> Resource:
        size_and_flags, offset, _ = struct.unpack_from("<QQQ", data, start)
        return Resource(offset, size_and_flags & ((1 << 56) - 1), size_and_flags >> 56)


def _read_images(xml: str) -> list[Image]:
    images = []
    for node in ET.fromstring(xml).iter("IMAGE"):  # noqa: S314 - our own medium
        architecture = node.findtext("WINDOWS/ARCH")
        images.append(
            Image(
                index=int(node.get("INDEX", "0")),
                name=node.findtext("NAME", ""),
                architecture=int(architecture) if architecture else None,
                edition=node.findtext("WINDOWS/EDITIONID", ""),
            )
        )
    return images
