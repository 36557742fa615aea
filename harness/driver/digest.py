"""Sums over driver files: the Authenticode digest, the plain one, and the checksum in the header of an image.

The Authenticode digest leaves out what signing changes: the checksum, the entry of the signature in the data directory,
and the signature itself ("Windows Authenticode Portable Executable Signature Format", 2008).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from harness.errors import DriverPackageError

_PE32_PLUS = 0x20B
_PE32 = 0x10B
_CHECKSUM_AT = 64
_SECURITY_AT = {_PE32: 96 + 4 * 8, _PE32_PLUS: 112 + 4 * 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """Where in an image the checksum and the signature's entry stand, and where the signature lies."""

    checksum_at: int
    security_at: int
    signature_at: int
    signature_size: int


def is_image(content: bytes) -> bool:
    """Whether these bytes are a PE image, as Windows' catalogs tell it from other files."""
    if content[:2] != b"MZ" or len(content) < 0x40:
        return False
    (start,) = struct.unpack_from("<I", content, 0x3C)
    return content[start : start + 4] == b"PE\0\0"


def find_layout(content: bytes) -> ImageLayout:
    """Where the changing parts of an image are.

    Raises DriverPackageError when the headers are cut short or of no known kind.
    """
    try:
        (start,) = struct.unpack_from("<I", content, 0x3C)
        optional = start + 24
        (magic,) = struct.unpack_from("<H", content, optional)
        security = optional + _SECURITY_AT[magic]
        place, size = struct.unpack_from("<II", content, security)
    except (struct.error, KeyError) as error:
        raise DriverPackageError("The file has no whole PE headers.", hint="Was it copied whole?") from error
    if place and place + size > len(content):
        raise DriverPackageError(
            f"The signature reaches to byte {place + size}, the file has {len(content)}.", hint="Was it copied whole?"
        )
    return ImageLayout(
        checksum_at=optional + _CHECKSUM_AT, security_at=security, signature_at=place, signature_size=size
    )


def image_digest(content: bytes, algorithm: str = "sha256") -> bytes:
    """The Authenticode digest of an image, which signing does not change (but padding to 8 bytes does)."""
    at = find_layout(content)
    digest = hashlib.new(algorithm)
    digest.update(content[: at.checksum_at])
    digest.update(content[at.checksum_at + 4 : at.security_at])
    end = at.signature_at or len(content)
    digest.update(content[at.security_at + 8 : end])
    digest.update(content[end + at.signature_size :])
    return digest.digest()


def member_digest(content: bytes, algorithm: str = "sha256") -> bytes:
    """What a catalog knows a file by: the Authenticode digest of an image, else the plain one."""
    return image_digest(content, algorithm) if is_image(content) else hashlib.new(algorithm, content).digest()


def image_checksum(content: bytes) -> int:
    """The checksum that belongs into the header: 16-bit words added with carry, without the field itself, plus size."""
    at = find_layout(content).checksum_at
    whole = content[:at] + bytes(4) + content[at + 4 :] + bytes(len(content) % 2)
    total: int = sum(struct.unpack(f"<{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total + len(content)


def stored_checksum(content: bytes) -> int:
    """The checksum that stands in the header; 0 where the linker set none."""
    (stored,) = struct.unpack_from("<I", content, find_layout(content).checksum_at)
    return int(stored)
