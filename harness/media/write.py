"""Writing CD images: the answer CD, and the bootable stand-in for Windows' medium."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import pycdlib

from harness.errors import UsageError

_JOLIET_NAME = 64  # characters in a file name
_UDF = "2.60"  # the one revision that pycdlib writes


def write_answer_cd(path: Path, files: Mapping[str, bytes | Path], *, label: str = "WFPHIL") -> None:
    """Write a CD with these files; names are relative and use '/'.

    Three file systems describe the same content: Windows takes UDF, other readers Joliet or ISO 9660, whose 1999
    edition (level 4) keeps names as they are.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=4, vol_ident=_checked_label(label), joliet=3, udf=_UDF)
    try:
        for folder in _folders(files):
            iso.add_directory(iso_path=folder, joliet_path=folder, udf_path=folder)
        for name, content in sorted(files.items()):
            place = _checked(name)
            if isinstance(content, Path):
                iso.add_file(str(content), iso_path=place, joliet_path=place, udf_path=place)
            else:
                iso.add_fp(BytesIO(content), len(content), iso_path=place, joliet_path=place, udf_path=place)
        iso.write(str(path))
    finally:
        iso.close()


def write_boot_medium(path: Path, files: Mapping[str, bytes | Path], *, label: str, efi_image: Path) -> None:
    """Write a medium as Windows' is: files in UDF alone, an ISO 9660 tree that says so, an El Torito entry for UEFI.

    `efi_image` is a FAT file system with \\EFI\\BOOT\\BOOTX64.EFI; El Torito counts its sectors with 16 bits.
    """
    size = efi_image.stat().st_size
    if size > 0xFFFF * 512:
        raise UsageError(f"The EFI boot image '{efi_image}' has {size} bytes, and El Torito allows {0xFFFF * 512}.")
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=4, vol_ident=_checked_label(label), udf=_UDF)
    try:
        readme = b'This disc contains a "UDF" file system and requires an operating system that reads it.\r\n'
        iso.add_fp(BytesIO(readme), len(readme), iso_path="/README.TXT")
        iso.add_file(str(efi_image), iso_path="/EFISYS.BIN")
        iso.add_eltorito("/EFISYS.BIN", bootcatfile="/BOOT.CAT", platform_id=0xEF)
        for folder in _folders(files):
            iso.add_directory(udf_path=folder)
        for name, content in sorted(files.items()):
            if isinstance(content, Path):
                iso.add_file(str(content), udf_path=_checked(name))
            else:
                iso.add_fp(BytesIO(content), len(content), udf_path=_checked(name))
        iso.write(str(path))
    finally:
        iso.close()


def _folders(files: Mapping[str, bytes | Path]) -> list[str]:
    """All folders of the files, parents first."""
    found = {str(parent) for name in files for parent in PurePosixPath(_checked(name)).parents if str(parent) != "/"}
    return sorted(found)


def _checked(name: str) -> str:
    place = PurePosixPath("/", name)
    words = name.split("/")
    if not name or any(word in {"", ".", ".."} for word in words) or "\\" in name:
        raise UsageError(f"'{name}' cannot be the name of a file on a CD: it has to be relative, with '/' in between.")
    if long := next((word for word in words if len(word) > _JOLIET_NAME), None):
        raise UsageError(f"'{long}' has {len(long)} characters; names on a CD have {_JOLIET_NAME} at most.")
    return str(place)


def _checked_label(label: str) -> str:
    # ISO 9660 allows 32 of d-characters; Joliet halves that.
    if not 1 <= len(label) <= 16 or not all(c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" for c in label):
        raise UsageError(f"'{label}' cannot be a CD's label: 1 to 16 of A-Z, 0-9 and '_'.")
    return label
