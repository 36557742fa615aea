"""Looks at a driver file as Windows' kernel loader would, and says why it would not load; each rule has its source.

What no file can tell is not here: what DriverEntry returns, and whether the guest trusts the certificate.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pefile

from harness.driver.digest import image_checksum, stored_checksum
from harness.driver.package import DriverPackage, load_package
from harness.driver.sign import TestCertificate, verify
from harness.driver.version import version_of
from harness.errors import DriverPackageError, SigningError
from harness.steps import note
from harness.wfp.kernel import Import, find_import

_PAGE = 0x1000
_PE32_PLUS = 0x20B
_EXECUTABLE_IMAGE, _RELOCS_STRIPPED = 0x0002, 0x0001
_DYNAMIC_BASE, _NX_COMPAT = 0x0040, 0x0100
_EXECUTE, _WRITE = 0x20000000, 0x80000000
_CODE = 0x20
_REL_ABSOLUTE, _REL_DIR64 = 0, 10
_DEFAULT_COOKIE = 0x00002B992DDFA232
_COOKIE_AT = 88  # of IMAGE_LOAD_CONFIG_DIRECTORY64
_VFT_DRV = 3
_PKCS_SIGNED_DATA, _REVISION_2 = 2, 0x0200
_NOT_FOR_DRIVERS = {9: "thread storage", 11: "bound imports", 13: "delayed imports", 14: "managed code"}
_SECURITY, _RELOC, _LOAD_CONFIG, _IAT = 4, 5, 10, 12
# What does not keep Windows from loading a driver, as long as memory integrity is off.
_DISTRUSTED = ("[relocation-table]", "[flags]", "[writable-code]", "[cookie]", "[version]")
_TEXTS = ("CompanyName", "FileDescription", "FileVersion", "OriginalFilename", "ProductName", "ProductVersion")


@dataclass(frozen=True, slots=True)
class _Image:
    pe: Any
    content: bytes
    package: DriverPackage
    release: str
    certificate: TestCertificate | None

    def directory(self, number: int) -> tuple[int, int]:
        """Address and size of an entry of the data directory."""
        entry = self.pe.OPTIONAL_HEADER.DATA_DIRECTORY[number]
        return entry.VirtualAddress, entry.Size

    def section_of(self, address: int) -> Any:
        """The section that an address is in, or None."""
        for section in self.pe.sections:
            if section.VirtualAddress <= address < section.VirtualAddress + _size(section):
                return section
        return None


@cache
def load_loader_rules() -> dict[str, dict[str, str]]:
    """The rules by name: text and source."""
    return tomllib.loads((files("harness.driver.data") / "loader_rules.toml").read_text(encoding="utf-8"))


def check_loadable(path: Path, *, release: str, certificate: TestCertificate | None = None) -> list[str]:
    """Why Windows of this release would refuse or distrust a driver file: a sentence each, with the rule's name.

    Without `certificate` only the place of a signature is looked at, not whose it is.
    Raises UsageError for a release that is not known.
    """
    try:
        package = load_package(path)
    except DriverPackageError as error:
        return [f"{error.message} [image]"]
    content = path.read_bytes()
    with pefile.PE(data=content, fast_load=True) as pe:  # type: ignore[no-untyped-call]
        image = _Image(pe, content, package, release, certificate)
        return [f"{text} [{rule}]" for rule, check in _CHECKS.items() for text in check(image)]


def check_for_windows(package: DriverPackage, release: str) -> None:
    """Hold a driver that is to be deployed against a release; what Windows merely distrusts is only noted.

    Raises DriverPackageError that names all for which Windows would not load it.
    """
    found = check_loadable(package.path, release=release)
    if not package.is_signed:  # a signed copy is deployed, and signing sets the checksum
        found = [text for text in found if not text.endswith(("[signature-place]", "[checksum]"))]
    fatal = [text for text in found if not text.endswith(_DISTRUSTED)]
    for text in found:
        if text not in fatal:
            note(f"'{package.path.name}': {text}")
    for name in unproven_imports(package.path, release=release):
        note(f"'{package.path.name}' imports '{name}', which no list of {release} at hand has.")
    if fatal:
        raise DriverPackageError(
            f"Windows would not load '{package.path.name}' on {release}: {' '.join(fatal)}",
            hint="harness/driver/data/loader_rules.toml has the page that each rule is from.",
        )


def unproven_imports(path: Path, *, release: str) -> list[str]:
    """The imports that no list at hand has for this release; nothing says that they are missing either.

    Raises DriverPackageError, UsageError.
    """
    found = _imports(load_package(path), release)
    return [function.name for function in found if not function.missing and not function.proven]


def _imports(package: DriverPackage, release: str) -> list[Import]:
    return [find_import(module, name, release) for module, names in package.imports.items() for name in names]


def _check_image(image: _Image) -> Iterator[str]:
    if image.pe.OPTIONAL_HEADER.Magic != _PE32_PLUS:
        yield "It is no PE32+ image."
    if not image.pe.FILE_HEADER.Characteristics & _EXECUTABLE_IMAGE:
        yield "The linker marked it as one that has errors (no EXECUTABLE_IMAGE)."


def _check_alignment(image: _Image) -> Iterator[str]:
    header = image.pe.OPTIONAL_HEADER
    in_memory, in_file = header.SectionAlignment, header.FileAlignment
    if in_memory < _PAGE or in_memory & (in_memory - 1):
        yield f"SectionAlignment is {in_memory:#x}, wanted a power of two from {_PAGE:#x} on."
        return
    if not 0x200 <= in_file <= in_memory or in_file & (in_file - 1):
        yield f"FileAlignment is {in_file:#x}, wanted a power of two from 0x200 to {in_memory:#x}."
        return
    wanted = _round(header.SizeOfHeaders, in_memory)
    for section in image.pe.sections:
        name = _name(section)
        if section.VirtualAddress != wanted:
            yield f"Section '{name}' is at {section.VirtualAddress:#x}, wanted {wanted:#x}."
        if section.SizeOfRawData and (section.PointerToRawData % in_file or section.SizeOfRawData % in_file):
            yield f"Section '{name}' is not on multiples of {in_file:#x} in the file."
        wanted = _round(section.VirtualAddress + _size(section), in_memory)
    if wanted != header.SizeOfImage:
        yield f"SizeOfImage is {header.SizeOfImage:#x}, the sections end at {wanted:#x}."


def _check_relocations(image: _Image) -> Iterator[str]:
    address, size = image.directory(_RELOC)
    if image.pe.FILE_HEADER.Characteristics & _RELOCS_STRIPPED:
        yield "Its relocations were stripped, so it can be loaded at one address only, and Windows chooses another."
        return
    if not address or not size:
        return  # relocation-table says so
    table, place = image.pe.get_data(address, size), 0
    while place + 8 <= len(table):
        page, length = struct.unpack_from("<II", table, place)
        if length < 8 or place + length > size:
            yield f"The relocations of page {page:#x} are {length} bytes long, {size - place} are left."
            return
        for (entry,) in struct.iter_unpack("<H", table[place + 8 : place + length - length % 2]):
            kind, target = entry >> 12, page + (entry & 0xFFF)
            if kind not in {_REL_ABSOLUTE, _REL_DIR64}:
                yield f"The relocation at {target:#x} is of kind {kind}, wanted {_REL_DIR64}."
                return
            if kind == _REL_DIR64 and image.section_of(target) is None:
                yield f"The relocation at {target:#x} is in no section."
                return
        place += length


def _check_relocation_table(image: _Image) -> Iterator[str]:
    if not all(image.directory(_RELOC)):
        yield "It has no relocations, which is right only where nothing in it is an absolute address."


def _check_flags(image: _Image) -> Iterator[str]:
    flags = image.pe.OPTIONAL_HEADER.DllCharacteristics
    for flag, name in ((_DYNAMIC_BASE, "DYNAMIC_BASE"), (_NX_COMPAT, "NX_COMPAT")):
        if not flags & flag:
            yield f"{name} is not set."


def _check_writable_code(image: _Image) -> Iterator[str]:
    for section in image.pe.sections:
        if section.Characteristics & _WRITE and section.Characteristics & (_EXECUTE | _CODE):
            yield f"Section '{_name(section)}' is writable and executable: memory integrity refuses it."
    table = image.section_of(image.directory(_IAT)[0]) if image.directory(_IAT)[0] else None
    if table is not None and table.Characteristics & _EXECUTE:
        yield f"The import table is in section '{_name(table)}', which is executable."


def _check_checksum(image: _Image) -> Iterator[str]:
    stored, right = stored_checksum(image.content), image_checksum(image.content)
    if stored != right:
        yield f"The checksum in the header is {stored:#x}, that of the file is {right:#x}."


def _check_imports(image: _Image) -> Iterator[str]:
    for function in _imports(image.package, image.release):
        if function.missing:
            yield f"It imports '{function.name}': {function.missing}."
    for module, names in image.package.imports.items():
        for name in names:
            if name.startswith("#"):
                yield f"It imports '{module}' by number ({name}), which changes with every Windows."


def _check_directories(image: _Image) -> Iterator[str]:
    for number, name in _NOT_FOR_DRIVERS.items():
        if any(image.directory(number)):
            yield f"It has {name}, which the kernel's loader does not know."


def _check_entry(image: _Image) -> Iterator[str]:
    entry = image.pe.OPTIONAL_HEADER.AddressOfEntryPoint
    section = image.section_of(entry)
    if section is None or not section.Characteristics & _EXECUTE:
        where = "no section" if section is None else f"'{_name(section)}'"
        yield f"The entry point {entry:#x} is in {where}, which is not code."


def _check_cookie(image: _Image) -> Iterator[str]:
    address, size = image.directory(_LOAD_CONFIG)
    if not address or size < _COOKIE_AT + 8:
        return  # a driver that brings its own guard, as one built by gcc
    (place,) = struct.unpack("<Q", image.pe.get_data(address + _COOKIE_AT, 8))
    if not place:
        return
    at = place - image.pe.OPTIONAL_HEADER.ImageBase
    section = image.section_of(at) if at > 0 else None
    if section is None or not section.Characteristics & _WRITE:
        yield f"The security cookie is at {place:#x}, which is in no section that can be written."
        return
    (value,) = struct.unpack("<Q", image.pe.get_data(at, 8))
    if value != _DEFAULT_COOKIE:
        yield f"The security cookie is {value:#x}, wanted {_DEFAULT_COOKIE:#x}: Windows would leave it as it is."


def _check_version(image: _Image) -> Iterator[str]:
    version = version_of(image.pe)
    if version is None:
        yield "It has no version resource."
        return
    missing = [name for name in _TEXTS if not version.texts.get(name, "").strip()]
    if missing:
        yield f"The version resource has no {', no '.join(missing)}."
    if version.file_type != _VFT_DRV:
        yield f"The version resource says file type {version.file_type}, wanted {_VFT_DRV} (driver)."


def _check_signature_place(image: _Image) -> Iterator[str]:
    place, size = image.directory(_SECURITY)
    if not place and not size:
        yield "It is not signed."
        return
    if place % 8 or place + size != len(image.content):
        yield f"The signature is {size} bytes at {place:#x} of {len(image.content):#x}, wanted at the end, on 8 bytes."
        return
    if size < 8:
        yield f"The signature has {size} bytes."
        return
    length, revision, kind = struct.unpack_from("<IHH", image.content, place)
    if (revision, kind) != (_REVISION_2, _PKCS_SIGNED_DATA):
        yield f"The signature is of revision {revision:#x} and kind {kind}, wanted {_REVISION_2:#x} and PKCS #7."
    if length <= 8 or length > size:
        yield f"The signature says that it has {length} bytes, there are {size}."


def _check_signature(image: _Image) -> Iterator[str]:
    if image.certificate is None or not image.package.is_signed:
        return
    try:
        verify(image.package.path, image.certificate)
    except SigningError as error:
        yield f"The signature does not verify: {error.message}"


def _size(section: Any) -> int:
    return int(section.Misc_VirtualSize or section.SizeOfRawData)


def _name(section: Any) -> str:
    return str(section.Name.rstrip(b"\0").decode(errors="replace"))


def _round(value: int, to: int) -> int:
    return (value + to - 1) // to * to


_CHECKS: dict[str, Callable[[_Image], Iterator[str]]] = {
    "image": _check_image,
    "alignment": _check_alignment,
    "relocations": _check_relocations,
    "relocation-table": _check_relocation_table,
    "flags": _check_flags,
    "writable-code": _check_writable_code,
    "checksum": _check_checksum,
    "imports": _check_imports,
    "directories": _check_directories,
    "entry": _check_entry,
    "cookie": _check_cookie,
    "version": _check_version,
    "signature-place": _check_signature_place,
    "signature": _check_signature,
}
