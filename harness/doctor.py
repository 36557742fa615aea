"""What this host can do: one finding a fact, each with what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from harness import process
from harness.config import MachineSettings, cache_root
from harness.errors import HarnessError, HostError
from harness.hypervisor import accelerator, connection
from harness.hypervisor.domain_xml import SCHEMA
from harness.hypervisor.firmware import find_firmware
from harness.images.scratch import check_namespaces
from harness.process import free_memory_mib

_ROOM_WANTED = 4 << 30  # the image, its build and the overlays of a run

_ANY_UEFI = MachineSettings(memory_mib=1024, vcpus=1, firmware="efi")
_MEMORY_WANTED = 3 << 29  # the guest, QEMU and the harness

_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "x86_64-w64-mingw32-gcc": "mingw-w64",
    "osslsigncode": "osslsigncode",
    "make": "make",
}


class Health(StrEnum):
    """GOOD; SLOW works, but not as well as it could; MISSING stops the main job."""

    GOOD = "good"
    SLOW = "slow"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about the host."""

    title: str
    health: Health
    detail: str
    hint: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is left to wish for."""
        return self.health is Health.GOOD

    @property
    def required(self) -> bool:
        """Whether the main job cannot run as it is."""
        return self.health is Health.MISSING


def examine() -> list[Finding]:
    """All findings, in the order in which they build on each other; never raises."""
    checks: list[Callable[[], Finding]] = [_python, *(_tool_check(name) for name in _TOOLS)]
    checks += [_schema, _libvirt, _acceleration, _memory, _image_build, _room, _installed_guests]
    return [_guarded(check) for check in checks]


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except HarnessError as error:
        title = check.__name__.strip("_").replace("_", " ")
        return Finding(title=title, health=Health.MISSING, detail=error.message, hint=error.hint)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= (3, 11)
    return Finding(
        title="python",
        health=Health.GOOD if good else Health.MISSING,
        detail=f"Python {version}, wanted 3.11 or newer.",
        hint=None if good else "Install python3.11.",
    )


def _tool_check(name: str) -> Callable[[], Finding]:
    def check() -> Finding:
        found = process.find_tool(name)
        if found is None:
            hint = f"'make setup' installs the Debian package '{_TOOLS[name]}'."
            return Finding(title=name, health=Health.MISSING, detail="It is not installed.", hint=hint)
        return Finding(title=name, health=Health.GOOD, detail=str(found))

    return check


def _schema() -> Finding:
    good = SCHEMA.is_file()
    return Finding(
        title="libvirt schema",
        health=Health.GOOD if good else Health.MISSING,
        detail=f"'{SCHEMA}' is {'there' if good else 'missing'}.",
        hint=None if good else "'make setup' installs the Debian package 'libvirt-daemon-system'.",
    )


def _libvirt() -> Finding:
    uri = connection.default_uri()
    opened = connection.connect(uri)
    try:
        number = opened.getLibVersion()
    finally:
        opened.close()
    version = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
    return Finding(title="libvirt", health=Health.GOOD, detail=f"libvirt {version} answers at {uri}.")


def _acceleration() -> Finding:
    found = accelerator.choose_accelerator()
    if found.kind == "kvm":
        return Finding(title="accelerator", health=Health.GOOD, detail=found.reason)
    hint = "The reference guest runs without KVM, Windows is very slow without it."
    return Finding(title="accelerator", health=Health.SLOW, detail=f"TCG. {found.reason}", hint=hint)


def _memory() -> Finding:
    free = free_memory_mib() << 20
    good = free >= _MEMORY_WANTED
    return Finding(
        title="memory",
        health=Health.GOOD if good else Health.SLOW,
        detail=f"{free / (1 << 30):.1f} GiB are free, wanted {_MEMORY_WANTED / (1 << 30):g} GiB.",
        hint=None if good else "A guest that is swapped out misses its deadlines.",
    )


def _image_build() -> Finding:
    if os.geteuid() == 0:
        return Finding(title="image build", health=Health.GOOD, detail="As root.")
    check_namespaces()
    return Finding(title="image build", health=Health.GOOD, detail="In a user namespace, without root.")


def _installed_guests() -> Finding:
    """Guests that are installed from a medium need more; the main job does not."""
    lacking = [name for name in ("swtpm", "swtpm_setup") if process.find_tool(name) is None]
    try:
        find_firmware(_ANY_UEFI)
    except HostError:
        lacking.insert(0, "OVMF")
    if lacking:
        return Finding(
            title="installed guests",
            health=Health.SLOW,
            detail=f"A guest cannot be installed from a medium: {', '.join(lacking)} is not there.",
            hint="'make setup' installs the Debian packages 'ovmf', 'swtpm' and 'swtpm-tools'.",
        )
    return Finding(title="installed guests", health=Health.GOOD, detail="UEFI firmware and a TPM are there.")


def _room() -> Finding:
    place = cache_root()
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        detail = f"'{there}' is not writable."
        return Finding(
            title="room", health=Health.MISSING, detail=detail, hint="Set WFP_HIL_CACHE to a folder of yours."
        )
    free = shutil.disk_usage(there).free
    good = free >= _ROOM_WANTED
    return Finding(
        title="room",
        health=Health.GOOD if good else Health.MISSING,
        detail=f"{free / (1 << 30):.1f} GiB free in '{place}', wanted {_ROOM_WANTED >> 30} GiB.",
        hint=None if good else "Free some room, or set WFP_HIL_CACHE to a folder on another file system.",
    )
