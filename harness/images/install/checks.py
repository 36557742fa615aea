"""What an installation needs of this host, found out before anything is started."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.config import InstallSettings, Profile
from harness.errors import HostError, UsageError
from harness.hypervisor import choose_accelerator
from harness.hypervisor.firmware import find_firmware
from harness.images.install.stages import total_seconds
from harness.process import find_tool, free_memory_mib
from harness.steps import note

_QEMU_MIB = 300  # QEMU's own, beside the guest's memory
# An installed Windows fills a third of the disk at most; the memory is kept with it, and twice while it is kept anew.
_DISK_SHARE = 3


def install_settings(profile: Profile) -> InstallSettings:
    """The section [install]. Raises UsageError for a guest that is not installed from a medium."""
    if profile.install is None:
        raise UsageError(
            f"The guest '{profile.name}' is not installed from a medium.",
            hint=f"'wfp-hil image build {profile.name}', without --iso, builds it.",
        )
    return profile.install


def check_host(profile: Profile, place: Path) -> None:
    """Programs, memory and room. Raises HostError with what is there and what is wanted."""
    settings = install_settings(profile)
    find_firmware(profile.machine)
    if profile.machine.tpm and (find_tool("swtpm") is None or find_tool("swtpm_setup") is None):
        raise HostError(
            "The guest has a TPM, and the program 'swtpm' or 'swtpm_setup' is not installed.",
            hint="'make setup' installs the Debian packages 'swtpm' and 'swtpm-tools'.",
        )
    free = free_memory_mib()
    wanted = settings.memory_mib + _QEMU_MIB
    if free < wanted:
        raise HostError(
            f"Installing '{profile.name}' needs {wanted} MiB of memory and {free} MiB are free.",
            hint="End other machines, or lower 'install.memory_mib' in the profile; Windows 11 wants 4096 MiB.",
        )
    room = shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free >> 20
    needed = settings.disk_gib * 1024 // _DISK_SHARE + 2 * settings.memory_mib
    if room < needed:
        raise HostError(
            f"Installing '{profile.name}' needs {needed} MiB on disk and '{place}' has {room} MiB.",
            hint="Free some space, or set WFP_HIL_CACHE to a folder on another disk.",
        )


def choose_factor(profile: Profile, *, slow: bool) -> float:
    """How many times as long as with KVM all takes here.

    Raises UsageError where KVM does not work, that costs time, and nobody said that it may.
    """
    settings = install_settings(profile)
    found = choose_accelerator(profile.machine.accelerator)
    if found.kind == "kvm":
        return 1.0
    factor = settings.tcg_factor
    if factor > 1 and not slow:
        quick, long = total_seconds(settings.stages, 1), total_seconds(settings.stages, factor)
        raise UsageError(
            f"KVM does not work here, and without it the installation takes about {_duration(long)} instead of "
            f"{_duration(quick)}. {found.reason}",
            hint="Take a host with KVM ('wfp-hil doctor' tells), or go on all the same with --slow.",
        )
    if factor > 1:
        note(f"without KVM this takes about {_duration(total_seconds(settings.stages, factor))}: {found.reason}")
    return factor


def check_readable(path: Path, what: str) -> Path:
    """An absolute path of a file that may be read. Raises UsageError otherwise."""
    if not path.is_file():
        raise UsageError(f"There is no {what} at '{path}'.", hint="Give the path of an .iso file.")
    if not os.access(path, os.R_OK):
        raise UsageError(f"The {what} '{path}' may not be read by this user.", hint="Change its mode or its owner.")
    return path.absolute()


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.0f} hours" if seconds >= 2 * 3600 else f"{seconds / 60:.0f} minutes"
