"""Facts about a driver file before it goes anywhere: what it is, what it imports, what the guest lacks of that."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pefile

from harness.errors import DriverPackageError, HostError
from harness.wfp.kernel import releases

_AMD64 = 0x8664
_NATIVE = 1
_SECURITY = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_SECURITY"]
_MACHINES = {0x014C: "x86", 0x01C0: "ARM", 0x01C4: "ARM", 0xAA64: "ARM64", 0x0200: "Itanium"}
_SUBSYSTEMS = {2: "a Windows program", 3: "a console program", 10: "an EFI application"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverPackage:
    """A driver file that can be loaded: `imports` holds the functions by module, names in lower case."""

    path: Path
    service: str
    imports: dict[str, tuple[str, ...]]
    is_signed: bool
    checksum_ok: bool

    @property
    def is_kmdf(self) -> bool:
        """Whether it needs the Kernel-Mode Driver Framework."""
        return "wdfldr.sys" in self.imports


@dataclass(frozen=True, slots=True)
class Exports:
    """What the kernel modules of a guest offer: `provided` works, `stubs` can be linked to but fail when called."""

    guest: str
    provided: dict[str, frozenset[str]]
    stubs: dict[str, frozenset[str]]


def load_package(path: Path, *, service: str | None = None) -> DriverPackage:
    """Read a .sys file.

    Raises DriverPackageError when it does not exist, is not PE, not for x64, or no kernel driver.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DriverPackageError(
            f"The driver '{path}' could not be read: {error.strerror}.", hint="Give the path of a .sys file."
        ) from error
    try:
        pe: Any = pefile.PE(  # type: ignore[no-untyped-call]
            data=content, fast_load=True
        )
    except pefile.PEFormatError as error:
        raise DriverPackageError(
            f"'{path}' is not a PE file: {str(error.value).strip(chr(39)).rstrip('.')}.",
            hint="A driver is a .sys file as the linker made it, not an .inf, .cat or archive.",
        ) from error
    with pe:
        machine = pe.FILE_HEADER.Machine
        if machine != _AMD64:
            raise DriverPackageError(
                f"'{path}' is built for {_MACHINES.get(machine, f'machine {machine:#06x}')}, wanted x64.",
                hint="Build it for x64: the guest runs no other drivers.",
            )
        subsystem = pe.OPTIONAL_HEADER.Subsystem
        if subsystem != _NATIVE:
            seen = _SUBSYSTEMS.get(subsystem, f"subsystem {subsystem}")
            raise DriverPackageError(
                f"'{path}' is {seen}, wanted a kernel driver (subsystem native).",
                hint="Link with /SUBSYSTEM:NATIVE, or --subsystem native with mingw-w64.",
            )
        directories = pe.OPTIONAL_HEADER.DATA_DIRECTORY
        if len(directories) <= _SECURITY:
            raise DriverPackageError(f"'{path}' ends in the middle of its headers.", hint="Was it copied whole?")
        _check_sections(path, pe, len(content))
        if pe.OPTIONAL_HEADER.AddressOfEntryPoint == 0:
            raise DriverPackageError(
                f"'{path}' has no entry point, wanted DriverEntry.",
                hint="With mingw-w64: -Wl,--entry,DriverEntry, and see whether the linker found it.",
            )
        pe.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]])
        return DriverPackage(
            path=path,
            service=service or re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem),
            imports=_imports(pe),
            is_signed=directories[_SECURITY].Size > 0,
            checksum_ok=bool(pe.verify_checksum()),
        )


def load_package_for(path: Path, guest_folder: Path) -> DriverPackage:
    """Read a .sys file and hold its imports against the guest of this folder under vm-images.

    A folder that is named after a Windows release stands for that Windows, whose loader looks at more than imports.
    Raises DriverPackageError.
    """
    package = load_package(path)
    exports = guest_folder / "imports.json"
    if exports.is_file():
        check_imports(package, load_exports(exports), allow_stubs=True)
    elif guest_folder.name in releases():
        from harness.driver.loader import check_for_windows  # it reads packages by this module

        check_for_windows(package, guest_folder.name)
    return package


def load_exports(path: Path) -> Exports:
    """Read what a guest's kernel modules offer, from the `imports.json` beside its profile.

    Raises HostError when the file is missing or damaged.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        modules = {name.lower(): module for name, module in facts["modules"].items()}
        return Exports(
            guest=facts["guest"],
            provided={name: frozenset(module["provided"]) for name, module in modules.items()},
            stubs={name: frozenset(module.get("stubs", ())) for name, module in modules.items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"The list of kernel functions '{path}' cannot be read: {error}.", hint="Is this a complete checkout?"
        ) from error


def check_imports(package: DriverPackage, exports: Exports, *, allow_stubs: bool = False) -> tuple[str, ...]:
    """Compare what a driver imports with what the guest has; gives back the stubs it links to.

    Raises DriverPackageError that names every module and function that the guest lacks.
    """
    lacking: list[str] = []
    stubs: list[str] = []
    for module, names in package.imports.items():
        if module not in exports.provided:
            lacking.append(f"the module '{module}'")
            continue
        for name in names:
            if name in exports.provided[module]:
                continue
            if name in exports.stubs[module]:
                stubs.append(f"{module}!{name}")
                continue
            near = difflib.get_close_matches(name, exports.provided[module], n=1, cutoff=0.85)
            lacking.append(f"'{module}!{name}'" + (f" (it has '{near[0]}')" if near else ""))
    if not allow_stubs:
        lacking += [f"'{name}' (there is only a stub that fails when called)" for name in stubs]
    if lacking:
        raise DriverPackageError(
            f"'{package.path.name}' imports what the guest '{exports.guest}' lacks: {', '.join(lacking)}.",
            hint="Run it on a Windows guest, or load the function by MmGetSystemRoutineAddress and do without.",
        )
    return tuple(stubs)


def _check_sections(path: Path, pe: Any, size: int) -> None:
    # pefile reads what is there of a file that was cut short; the guest's loader would refuse it without a reason.
    wanted = pe.FILE_HEADER.NumberOfSections
    if len(pe.sections) != wanted or wanted == 0:
        raise DriverPackageError(
            f"'{path}' is cut short: it has {len(pe.sections)} of {wanted} sections.", hint="Was it copied whole?"
        )
    end = max(section.PointerToRawData + section.SizeOfRawData for section in pe.sections)
    if end > size:
        raise DriverPackageError(
            f"'{path}' is cut short: it has {size} bytes, its sections reach to byte {end}.",
            hint="Was it copied whole?",
        )


def _imports(pe: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for module in getattr(pe, "DIRECTORY_ENTRY_IMPORT", ()):
        names = (entry.name.decode(errors="replace") if entry.name else f"#{entry.ordinal}" for entry in module.imports)
        name = module.dll.decode(errors="replace").lower()
        found[name] = tuple(sorted({*found.get(name, ()), *names}))
    return found
