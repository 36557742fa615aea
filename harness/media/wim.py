"""What a WIM says of the images in it: its header, and the XML behind it. Nothing is unpacked.

Header and XML are the same in `install.wim`, in a compressed `install.esd` and in each part of a split `install.swm`.
Microsoft's white paper "Windows Imaging File Format (WIM)" has the header; wimlib's `include/wimlib/header.h`
(https://wimlib.net) describes it, too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from lxml import etree

from harness.errors import UsageError

_MAGIC = b"MSWIM\0\0\0"
_HEADER = struct.Struct("<8sIIII16sHHI")  # magic, size, version, flags, chunk size, GUID, part, parts, images
_XML_ENTRY = 0x48  # after the entry of the table of resources, at 0x30
_HEADER_SIZE = 208
_SIZE_BITS = (1 << 56) - 1  # the flags of a resource are the top byte of its size
_XML_LIMIT = 16 << 20  # that of a medium with a dozen editions has some 20 KiB
_MOST_IMAGES = 256
# SYSTEM_INFO.wProcessorArchitecture:
# https://learn.microsoft.com/windows/win32/api/sysinfoapi/ns-sysinfoapi-system_info
_ARCHITECTURES = {"0": "x86", "5": "arm", "6": "ia64", "9": "amd64", "12": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WimImage:
    """One image; what its XML does not say is empty or 0. `index` counts from 1, as `/IMAGE/INDEX` does."""

    index: int
    name: str
    display_name: str
    edition_id: str
    architecture: str
    build: int
    version: str
    languages: tuple[str, ...]
    installation_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WimInfo:
    """The images of an archive, and which part of how many it is."""

    images: tuple[WimImage, ...]
    part: int
    parts: int


def read_wim(stream: BinaryIO, *, name: str = "install.wim") -> WimInfo:
    """Read the description of an archive from a stream that can seek.

    Raises UsageError when it is no WIM, or is cut off, or its description makes no sense.
    """
    header = _take(stream, 0, _HEADER_SIZE, name)
    magic, size, _, _, _, _, part, parts, count = _HEADER.unpack_from(header)
    if magic != _MAGIC or size != _HEADER_SIZE:
        raise UsageError(f"'{name}' is no WIM: it begins with {magic!r}.", hint="The medium may be damaged.")
    length, offset = (value & _SIZE_BITS for value in struct.unpack_from("<QQ", header, _XML_ENTRY))
    if not 0 < length <= _XML_LIMIT:
        raise UsageError(f"The description of images in '{name}' has {length} bytes, and 1 to {_XML_LIMIT} make sense.")
    images = _read_xml(_take(stream, offset, length, name), name)
    if count > _MOST_IMAGES or len(images) != count:
        raise UsageError(f"'{name}' says that it has {count} images and describes {len(images)}.")
    return WimInfo(images=images, part=part, parts=parts)


def _take(stream: BinaryIO, offset: int, length: int, name: str) -> bytes:
    stream.seek(offset)
    data = b""
    while len(data) < length and (more := stream.read(length - len(data))):
        data += more
    if len(data) < length:
        raise UsageError(
            f"'{name}' ends in the middle: {length} bytes are missing at {offset}, of which {len(data)} are there.",
            hint="The medium was not copied completely; compare its SHA-256 with what its source says.",
        )
    return data


def _read_xml(data: bytes, name: str) -> tuple[WimImage, ...]:
    # No entities, no network: the text comes from whoever made the medium.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data.decode("utf-16").encode(), parser)
    except (UnicodeDecodeError, etree.XMLSyntaxError) as error:
        raise UsageError(f"The description of images in '{name}' cannot be read: {error}.") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise UsageError(f"The description of images in '{name}' has a document type, which no WIM has.")
    images = tuple(_read_image(node, name) for node in root.iterfind("IMAGE"))
    if sorted(image.index for image in images) != list(range(1, len(images) + 1)):
        raise UsageError(f"The images in '{name}' are numbered {[image.index for image in images]}, not 1, 2, 3.")
    return tuple(sorted(images, key=lambda image: image.index))


def _read_image(node: etree._Element, name: str) -> WimImage:
    architecture = _text(node, "WINDOWS/ARCH")
    build = _number(_text(node, "WINDOWS/VERSION/BUILD"), name)
    words = ("MAJOR", "MINOR", "BUILD", "SPBUILD")
    version = ".".join(text for word in words if (text := _text(node, f"WINDOWS/VERSION/{word}")))
    image_name = _text(node, "NAME")
    return WimImage(
        index=_number(node.get("INDEX", ""), name),
        name=image_name,
        display_name=_text(node, "DISPLAYNAME") or image_name,
        edition_id=_text(node, "WINDOWS/EDITIONID"),
        architecture=_ARCHITECTURES.get(architecture, architecture),
        build=build,
        version=version,
        languages=tuple((found.text or "").strip() for found in node.iterfind("WINDOWS/LANGUAGES/LANGUAGE")),
        installation_type=_text(node, "WINDOWS/INSTALLATIONTYPE"),
        size=_number(_text(node, "TOTALBYTES"), name),
    )


def _text(node: etree._Element, path: str) -> str:
    return (node.findtext(path) or "").strip()


def _number(text: str, name: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise UsageError(f"The description of images in '{name}' has '{text[:40]}' where a number belongs.")
    return int(text)
