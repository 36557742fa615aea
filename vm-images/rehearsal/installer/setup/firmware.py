"""The firmware's side of an installation: its boot entries (UEFI specification 2.10, section 3.1.3), and the TPM."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from disk import Partition

_VARIABLES = Path("/sys/firmware/efi/efivars")
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_ATTRIBUTES = struct.pack("<I", 7)  # non-volatile, for boot services, at run time
_TPM = Path("/sys/class/tpm/tpm0")


def add_boot_entry(name: str, loader: str, partition: Partition) -> str:
    """Add a boot entry for a file on the EFI partition and put it first; gives back its name. Raises OSError."""
    mount = ["mount", "-t", "efivarfs", "efivarfs", str(_VARIABLES)]
    subprocess.run(mount, check=False, capture_output=True)
    taken = {path.name[4:8] for path in _VARIABLES.glob(f"Boot????-{_GLOBAL}")}
    number = next(number for number in range(0x10000) if f"{number:04X}" not in taken)
    path = _device_path(loader, partition)
    option = struct.pack("<IH", 1, len(path)) + name.encode("utf-16-le") + b"\0\0" + path
    _write(f"Boot{number:04X}", option)
    order = _VARIABLES / f"BootOrder-{_GLOBAL}"
    before = order.read_bytes()[4:] if order.exists() else b""
    _write("BootOrder", struct.pack("<H", number) + before)
    return f"Boot{number:04X}"


def current_entry() -> str:
    """The boot entry that the firmware took for this boot, with its description; empty when it cannot be told."""
    mount = ["mount", "-t", "efivarfs", "efivarfs", str(_VARIABLES)]
    subprocess.run(mount, check=False, capture_output=True)
    try:
        (number,) = struct.unpack_from("<H", (_VARIABLES / f"BootCurrent-{_GLOBAL}").read_bytes(), 4)
        option = (_VARIABLES / f"Boot{number:04X}-{_GLOBAL}").read_bytes()[10:]
    except (OSError, struct.error):
        return ""
    return f"Boot{number:04X} {option.decode('utf-16-le', 'replace').partition(chr(0))[0]}"


def _device_path(loader: str, partition: Partition) -> bytes:
    # 10.3.5.1: a hard drive node of a GPT partition; 10.3.5.4: a file path; 10.3.1: the end.
    sectors = partition.last - partition.first + 1
    drive = struct.pack("<IQQ16sBB", partition.number, partition.first, sectors, partition.guid.bytes_le, 2, 2)
    file = loader.encode("utf-16-le") + b"\0\0"
    nodes = ((4, 1, drive), (4, 4, file), (0x7F, 0xFF, b""))
    return b"".join(struct.pack("<BBH", kind, sub, 4 + len(data)) + data for kind, sub, data in nodes)


def _write(name: str, data: bytes) -> None:
    # The kernel takes a variable in one write.
    (_VARIABLES / f"{name}-{_GLOBAL}").write_bytes(_ATTRIBUTES + data)


def describe_tpm() -> dict[str, str] | None:
    """Version and the registers in which the firmware measured the boot; None without a TPM."""
    if not _TPM.is_dir():
        return None
    found = {"version": (_TPM / "tpm_version_major").read_text().strip()}
    for number in (0, 4, 7):
        for bank in ("sha256", "sha1"):
            register = _TPM / f"pcr-{bank}" / str(number)
            if register.exists():
                found[f"pcr-{bank}-{number}"] = register.read_text().strip()
                break
    return found
