"""Machines as they were right after their boot, kept from one run to the next so that a later run need not boot.

A kept state is the overlay disk with one snapshot inside. It fits only the machine it was made from: its name is a hash
of all that machine is made of, and a state that does not load is thrown away and the guest boots.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import process, steps
from harness.config.directories import cache_root
from harness.errors import HarnessError, HostError
from harness.hypervisor.firmware import give_to_qemu
from harness.waiting import Deadline

SNAPSHOT = "booted"
_COPY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WarmState:
    """The place of one machine's state; `folder` holds those of all machines, for this user alone."""

    folder: Path
    image: str
    key: str

    @property
    def path(self) -> Path:
        """The overlay disk, whether or not it exists."""
        return self.folder / f"{self.image}-{self.key}.qcow2"

    def take(self, disks: Sequence[Path]) -> bool:
        """Copy what was kept to the disks, of which the overlay comes first; False when there is nothing."""
        if not self.path.is_file():
            return False
        try:
            for disk, kept in zip(disks, self._paths(len(disks)), strict=True):
                _copy(kept, disk)
                give_to_qemu(disk)
        except HarnessError as error:
            steps.note(f"The kept state of the machine cannot be used: {error.message}")
            self.drop()
            return False
        return True

    def keep(self, disks: Sequence[Path]) -> None:
        """Keep copies of the disks, which nobody may be writing to; states of older images are removed.

        Not worth an error: without it the next run boots.
        """
        half = self.path.with_suffix(f".{os.getpid()}.half")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the memory in it holds keys
            # The overlay comes last: where it lies, the others do.
            for disk, kept in reversed(list(zip(disks, self._paths(len(disks)), strict=True))):
                _copy(disk, half)
                process.run(["qemu-img", "check", "-q", half], deadline=Deadline(_COPY_SECONDS))
                half.replace(kept)
            self._remove_older()
        except (HarnessError, OSError) as error:
            steps.note(f"The state of the booted machine was not kept, the next run boots again: {error}")
        finally:
            half.unlink(missing_ok=True)

    def drop(self) -> None:
        """Throw the state away, for it does not work."""
        for path in self.folder.glob(f"{self.path.stem}.*"):
            path.unlink(missing_ok=True)

    def _paths(self, count: int) -> list[Path]:
        return [self.path, *(self.path.with_suffix(f".{number}.qcow2") for number in range(1, count))]

    def _remove_older(self) -> None:
        name = self.image.rpartition("-")[0]
        for other in self.folder.glob(f"{name}-*"):
            if not other.name.startswith(f"{self.image}-"):
                with suppress(OSError):
                    other.unlink()
        for half in self.folder.glob("*.half"):  # of runs that were killed while they copied
            pid = half.name.split(".")[-2]
            if not (pid.isdigit() and Path("/proc", pid).exists()):
                half.unlink(missing_ok=True)


def find_state(*, image: Iterable[Path | None], machine: str, emulator: Path, kvm: bool) -> WarmState:
    """The place of the state of a machine with these image files and this domain XML (nothing of one run in it).

    An image that was built again has other keys and passwords in it, so files count by identity, not by name alone.
    """
    files = [path for path in image if path is not None]
    folder = files[0].parent
    digest = hashlib.sha256(machine.encode())
    for path in [emulator, *files]:
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\n".encode())
    digest.update(platform.processor().encode() + _processor(all_features=kvm))
    return WarmState(cache_root() / "booted", folder.name, digest.hexdigest()[:16])


def _processor(*, all_features: bool) -> bytes:
    # Under TCG the guest sees the host's clock rate; under KVM it sees the features as well.
    wanted = ("model name", "flags", "Features") if all_features else ("model name",)
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError as error:
        raise HostError(f"/proc/cpuinfo cannot be read: {error.strerror}.") from error
    return "\n".join(line for line in lines if line.startswith(wanted)).encode()


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    process.run(["cp", "--reflink=auto", "--sparse=auto", source, target], deadline=Deadline(_COPY_SECONDS))
