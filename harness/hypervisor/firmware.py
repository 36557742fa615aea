"""UEFI firmware of a machine: OVMF's code, the NVRAM that a machine writes to, and the state of its TPM.

The NVRAM hangs on QEMU's command line, not in libvirt's `<nvram>`: libvirt 9.0 takes `format='qcow2'` there and then
starts QEMU with a raw file all the same (tried), and a machine with a writable raw file refuses `savevm` ("is writable
but does not support snapshots"). As qcow2 it is saved and put back in place with the disk.

libvirt starts swtpm and keeps its state by the UUID of the domain; it sets a TPM up only where it finds no state, so
that the state of an image is put there beforehand. Savevm keeps the TPM's state with the machine's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import process, steps
from harness.config import MachineSettings
from harness.errors import HostError
from harness.waiting import Deadline

_SYSTEM_TPMS = Path("/var/lib/libvirt/swtpm")
_TPM_AUTHORITY = Path("/var/lib/swtpm-localca")

# Code and template of its variables, as Debian and Ubuntu, Fedora, and Arch place them.
_PLAIN = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
)
_SECURE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
)


@dataclass(frozen=True, slots=True)
class Firmware:
    """Two files of the host: the code, which is never written to, and what new NVRAM begins as."""

    code: Path
    template: Path

    def drives(self, nvram: Path, *, secure_boot: bool = False) -> list[str]:
        """Words for QEMU's command line that put the code and a machine's NVRAM (qcow2) into its flash."""
        words = [
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_escape(self.code)}"),
            *("-drive", f"if=pflash,unit=1,format=qcow2,file={_escape(nvram)}"),
        ]
        return [*words, "-global", "driver=cfi.pflash01,property=secure,value=on"] if secure_boot else words


def find_firmware(machine: MachineSettings) -> Firmware:
    """The firmware for a machine of these settings. Raises HostError when it is not installed."""
    pairs = _SECURE if machine.secure_boot else _PLAIN
    for code, template in pairs:
        if Path(code).is_file() and Path(template).is_file():
            return Firmware(Path(code), Path(template))
    raise HostError(
        f"There is no UEFI firmware at '{pairs[0][0]}' nor where other distributions have it.",
        hint="'make setup' installs the Debian package 'ovmf'.",
    )


def make_nvram(target: Path, template: Path) -> None:
    """Make NVRAM that QEMU, which under qemu:///system runs as another user, may write to."""
    target.unlink(missing_ok=True)
    source_format = "qcow2" if template.suffix == ".qcow2" else "raw"
    process.run(["qemu-img", "convert", "-f", source_format, "-O", "qcow2", template, target], deadline=Deadline(60))
    give_to_qemu(target)


def give_to_qemu(path: Path) -> None:
    """Let the user that QEMU runs as write to a file that libvirt does not know of."""
    if os.geteuid() != 0:
        return
    for name in ("libvirt-qemu", "qemu"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            os.chown(path, entry.pw_uid, entry.pw_gid)
            path.chmod(0o600)
            return
    path.chmod(0o666)


def share_tpm_authority(folder: Path = _TPM_AUTHORITY) -> None:
    """Give what root made in the folder of swtpm's certificate authority to the user that the folder belongs to.

    A libvirtd that was started before the package 'swtpm' brought the user 'tss' runs swtpm_setup as root, and the
    authority that is made then is root's. After its next start it runs swtpm_setup as 'tss', which may not read it
    ("Need read/write rights on .lock.swtpm-localca"): no machine with a new TPM starts any more.
    """
    if os.geteuid() != 0:
        return
    with suppress(FileNotFoundError):
        owner = folder.stat()
        for path in folder.iterdir():
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_uid == 0 and owner.st_uid != 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def tpm_folder(uri: str, uuid: str) -> Path:
    """Where libvirt keeps the TPM of the domain with this UUID."""
    if uri.endswith("/system"):
        return _SYSTEM_TPMS / uuid
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "libvirt" / "qemu" / "swtpm" / uuid


def place_tpm(state: Path, uri: str, uuid: str) -> None:
    """Give a domain that is about to start the TPM state of an image; without it the guest finds a new TPM."""
    target = tpm_folder(uri, uuid) / "tpm2"
    try:
        target.mkdir(mode=0o700, parents=True)
        for folder in (target.parent, target.parent.parent):
            folder.chmod(0o711)
        for path in state.iterdir():
            shutil.copyfile(path, target / path.name)
    except OSError as error:
        steps.note(f"The TPM's state could not be put into '{target}' ({error.strerror}): the guest finds a new TPM.")
        shutil.rmtree(target.parent, ignore_errors=True)


def fetch_tpm(state: Path, uri: str, uuid: str) -> bool:
    """Copy what an ended domain left as its TPM into the folder `state`; False when there is none that can be read."""
    source = tpm_folder(uri, uuid) / "tpm2"
    try:
        files = [path for path in source.iterdir() if path.is_file() and not path.name.startswith(".")]
        state.mkdir(mode=0o700, exist_ok=True)
        for path in files:
            shutil.copyfile(path, state / path.name)
    except OSError as error:
        steps.note(f"The TPM's state in '{source}' could not be read ({error.strerror}): the image has none.")
        return False
    return bool(files)


def drop_tpm(uri: str, uuid: str) -> None:
    """Remove what an ended domain left as its TPM."""
    shutil.rmtree(tpm_folder(uri, uuid), ignore_errors=True)


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")
