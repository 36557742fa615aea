"""Snapshots of a whole machine, and the way back to one.

The ways, quickest first; the first that works when a snapshot is saved is used for it:

- in place: QEMU's `savevm` and `loadvm`; the same process goes on, a third of a second;
- reload: the process is gone; a new one does `loadvm` on the same overlay, half a second more;
- save and restore: libvirt writes the memory to a file and starts a new QEMU from it, some seconds;
- cold boot: a new overlay and a new boot; always works, and what the guest had set up is gone.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from harness import steps
from harness.errors import MachineError, UsageError
from harness.hypervisor.monitor import Monitor


class Way(StrEnum):
    """How a machine goes back; says what is left of connections to the guest."""

    IN_PLACE = "in-place"
    RELOAD = "reload"
    RESTORE = "restore"
    COLD_BOOT = "cold-boot"


_LADDER = {
    Way.IN_PLACE: (Way.IN_PLACE, Way.RELOAD, Way.COLD_BOOT),
    Way.RESTORE: (Way.RESTORE, Way.COLD_BOOT),
    Way.COLD_BOOT: (Way.COLD_BOOT,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """A finished revert: by which way, and in how many seconds."""

    way: Way
    duration: float


class Subject(Protocol):
    """What snapshots need of a machine."""

    def monitor(self) -> Monitor: ...  # noqa: D102
    def freeze_to(self, path: Path) -> None: ...  # noqa: D102
    def thaw_from(self, path: Path) -> None: ...  # noqa: D102
    def start_process_anew(self) -> None: ...  # noqa: D102
    def boot_anew(self) -> None: ...  # noqa: D102
    def ensure_running(self) -> None: ...  # noqa: D102
    @property
    def disks(self) -> tuple[Path, ...]: ...  # noqa: D102


class Snapshots:
    """The saved states of one machine, by name."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject = subject
        self._folder = folder
        self._ways: dict[str, Way] = {}

    def save(self, name: str) -> Way:
        """Save the running machine under `name`, over an earlier one of that name; it goes on running."""
        if not name.replace("-", "").isalnum():
            raise UsageError(f"A snapshot cannot be called '{name}'; letters, digits and '-' are allowed.")
        with steps.step(f"save snapshot '{name}'"):
            self._ways[name] = self._save(name)
            return self._ways[name]

    def revert(self, name: str) -> Reverted:
        """Go back to the snapshot, by the way it was saved for, or failing that by a cold boot."""
        if name not in self._ways:
            raise UsageError(f"There is no snapshot '{name}'; saved are {', '.join(sorted(self._ways)) or 'none'}.")
        began, way = time.monotonic(), self._ways[name]
        with steps.step(f"revert to '{name}'", way=str(way)):
            for attempt in _LADDER[way]:
                way = attempt
                try:
                    self._revert(name, way)
                    break
                except MachineError as error:
                    if way is Way.COLD_BOOT:
                        raise
                    steps.note(f"The revert {way} failed: {error.message}")
            if way is Way.COLD_BOOT:
                self._ways = dict.fromkeys(self._ways, way)  # snapshots inside the overlay went with it
        return Reverted(way=way, duration=time.monotonic() - began)

    def _save(self, name: str) -> Way:
        refused: list[str] = []
        try:
            self._subject.monitor().order(f"savevm {name}")
        except MachineError as error:
            refused.append(error.message)
        else:
            return Way.IN_PLACE
        try:
            self._subject.freeze_to(self._memory(name))
            for disk in self._subject.disks:
                shutil.copyfile(disk, self._copy(name, disk))
            self._subject.thaw_from(self._memory(name))
        except MachineError as error:
            refused.append(error.message)
            self._subject.boot_anew()
            steps.note(f"No snapshot is possible, each revert boots anew: {' '.join(refused)}")
            return Way.COLD_BOOT
        steps.note(f"No snapshot in place, each revert restores the saved memory: {refused[0]}")
        return Way.RESTORE

    def _revert(self, name: str, way: Way) -> None:
        match way:
            case Way.IN_PLACE:
                self._subject.monitor().order(f"loadvm {name}")
                self._subject.ensure_running()  # loadvm leaves a machine stopped that was stopped before
            case Way.RELOAD:
                self._subject.start_process_anew()
                self._subject.monitor().order(f"loadvm {name}")
                self._subject.ensure_running()
            case Way.RESTORE:
                self._subject.freeze_to(Path())
                for disk in self._subject.disks:
                    shutil.copyfile(self._copy(name, disk), disk)
                self._subject.thaw_from(self._memory(name))
            case Way.COLD_BOOT:
                self._subject.boot_anew()

    def _memory(self, name: str) -> Path:
        return self._folder / f"{name}.memory"

    def _copy(self, name: str, disk: Path) -> Path:
        return self._folder / f"{name}.{disk.name}"
