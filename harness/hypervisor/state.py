"""The folder that a machine has while it exists: its disk, its saved states, and the record of its owner."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import process
from harness.config import state_root
from harness.errors import HostError
from harness.ownership import Owner
from harness.waiting import Deadline

DOMAIN_PREFIX = "wfp-hil-"
HALF_MADE = ".half-"
_RECORD = "owner.json"
_SOCKET_PATH_MAX = 108  # sun_path of unix(7), with its zero


@dataclass(frozen=True, slots=True)
class MachineState:
    """`folder` is named as the domain; QEMU, which runs as another user for root, may pass through and write.

    The disks of a machine that is being installed lie elsewhere and outlive it: in `disks`.
    """

    folder: Path
    disks: Path | None = None

    @classmethod
    def create(
        cls, domain: str, uri: str, run_dir: Path, *, root: Path | None = None, disks: Path | None = None
    ) -> MachineState:
        """Make the folder and record who owns it, before anything else of the machine exists."""
        folder = (root or state_root()) / domain
        owner = Owner.this_process()
        record = {"domain": domain, "uri": uri, "run_dir": str(run_dir), "owner": asdict(owner)}
        half = folder.parent / f"{HALF_MADE}{owner.mark}-{domain}"
        try:
            if folder.exists():
                raise FileExistsError
            # Others clear up at any time: the folder appears under its name together with the record of its owner.
            half.mkdir(parents=True)
            (half / _RECORD).write_text(json.dumps(record), encoding="utf-8")
            # Root's umask may hide these from the user QEMU runs as; passing through is all it needs.
            for place in (half, half.parent, half.parent.parent):
                place.chmod(place.stat().st_mode | 0o111)
            half.chmod(0o711)  # nobody else is to see what is in it
            half.rename(folder)
        except OSError as error:
            shutil.rmtree(half, ignore_errors=True)
            if error.errno in (None, errno.EEXIST, errno.ENOTEMPTY):
                raise HostError(
                    f"There is a machine '{domain}' already.", hint="'wfp-hil clean' removes what an ended run left."
                ) from None
            raise HostError(
                f"'{folder}' cannot be made: {error.strerror}.", hint="Set WFP_HIL_CACHE to a folder of yours."
            ) from error
        return cls(folder, disks)

    @property
    def disk(self) -> Path:
        """The overlay that takes all the guest writes."""
        return (self.disks or self.folder) / "disk.qcow2"

    @property
    def nvram(self) -> Path:
        """What UEFI firmware writes to; only machines with such firmware have it."""
        return (self.disks or self.folder) / "nvram.qcow2"

    @property
    def second_channel(self) -> Path | None:
        """The socket of the guest's second serial port, which QEMU makes; None where its path is too long for one."""
        path = self.folder / "com2"
        return path if len(os.fsencode(path)) < _SOCKET_PATH_MAX else None

    def create_overlay(self, base: Path) -> None:
        """Make the overlay anew on the image's disk, which is never written to."""
        tool = process.find_tool("qemu-img") or Path("qemu-img")
        self.disk.unlink(missing_ok=True)
        process.run([tool, "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", self.disk], deadline=Deadline(30))

    def record(self) -> tuple[Owner, str] | None:
        """The owner and libvirt's URI, or None when the record is missing or not readable."""
        try:
            kept = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
            return Owner(**kept["owner"]), str(kept["uri"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Delete the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            raise HostError(
                f"'{self.folder}' cannot be deleted.", hint=f"It belongs to uid {self.folder.stat().st_uid}."
            )


def live_machines() -> list[str]:
    """Names of the machines whose runs are alive."""
    records = (
        (folder.name, MachineState(folder).record()) for folder in sorted(state_root().glob(f"{DOMAIN_PREFIX}*"))
    )
    return [name for name, record in records if record is not None and record[0].is_alive()]
