"""An installation that is not finished: its folder, how far it is, and where it can be gone on with.

At a stage, and when it is interrupted, the machine's memory is kept inside its disks (QEMU's `savevm`), with which the
disks, the NVRAM and the TPM are of the same moment. What ends the command, or the host, costs the time since at most.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.config.directories import cache_root
from harness.errors import HostError, ImageBuildError, MachineError
from harness.hypervisor import Machine
from harness.hypervisor.firmware import drop_tpm
from harness.images.cache import try_lock
from harness.steps import note, step

_RECORD = "installation.json"
_CHECKPOINT_EVERY = 120.0  # a checkpoint takes seconds, for it writes the memory


@dataclass(slots=True, kw_only=True)
class Record:
    """What is known of an installation: `inputs` is the hash of all that it is made from."""

    inputs: str
    reached: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by stage: when it was reached
    elapsed: float = 0.0
    checkpoint: str | None = None
    tpm: tuple[str, str] | None = None
    failure: str | None = None
    calls: int = 1


class Unfinished:
    """The folder of one profile's installation, with its disk, its NVRAM, its CD and its record."""

    def __init__(self, name: str) -> None:
        self.folder = installs_root() / name
        self.record = Record(inputs="")

    @property
    def serial_folder(self) -> Path:
        """Where the serial log and, after a failure, the screen are."""
        return self.folder / "log"

    def load(self, inputs: str) -> bool:
        """Whether there is an installation of these inputs that can be gone on with; its record is read then."""
        if not self.read():
            return False
        if self.record.inputs != inputs:
            note("The unfinished installation was of other inputs: this one begins anew.")
            return False
        if self.record.failure is not None:
            note(f"The last try failed, this one begins anew. It said: {self.record.failure}")
            return False
        if self.record.checkpoint is None:
            note("The last try ended before anything of it could be kept: this one begins anew.")
            return False
        return True

    def begin(self, inputs: str) -> None:
        """Throw away what there is, and make the folder."""
        self.read()
        self.remove()
        try:
            self.folder.mkdir(parents=True)
            for place in (self.folder, self.folder.parent):
                place.chmod(0o711)  # QEMU, which may be another user, passes through
        except OSError as error:
            raise HostError(
                f"'{self.folder}' cannot be made: {error.strerror}.", hint="Set WFP_HIL_CACHE to a folder of yours."
            ) from error
        self.record = Record(inputs=inputs)
        self.save()

    def save(self) -> None:
        """Write the record, whole or not at all."""
        half = self.folder / f"{_RECORD}.half"
        half.write_text(json.dumps(asdict(self.record), indent=2), encoding="utf-8")
        half.replace(self.folder / _RECORD)

    def reach(self, stages: Sequence[str], elapsed: float) -> None:
        """Remember the stages so far; those that are new came now."""
        self.record.reached = list(stages)
        for stage in stages:
            self.record.seconds.setdefault(stage, round(elapsed, 1))

    def checkpoint(
        self, machine: Machine, elapsed: float, *, catch_up: Callable[[], Sequence[str]], force: bool = False
    ) -> bool:
        """Keep the machine as it is; without `force` only where the last time was long ago.

        The machine stands still meanwhile. `catch_up` gives the stages that it has then reached: one that it wrote
        just before would not be written again after going on.
        """
        record = self.record
        if not force and record.checkpoint is not None and elapsed - record.elapsed < _CHECKPOINT_EVERY:
            self.save()
            return False
        name = f"at-{int(elapsed)}-{record.calls}"
        began = time.monotonic()
        try:
            machine.pause()
            machine.monitor().order(f"savevm {name}")
            # What was written before the pause is in the log by now: writing the memory takes a second and more.
            self.reach(catch_up(), elapsed)
            older, record.checkpoint, record.elapsed, record.tpm = record.checkpoint, name, elapsed, machine.tpm_place
            self.save()
            if older is not None:
                machine.monitor().order(f"delvm {older}")
        except MachineError as error:
            note(f"The installation cannot be gone on with from here: {error.message}")
            return False
        finally:
            if machine.is_alive():
                machine.ensure_running()
        note(f"kept for going on from here in {time.monotonic() - began:.1f} s", checkpoint=name)
        return True

    def go_on(self, machine: Machine) -> None:
        """Put a machine that was made for these disks to where the installation was kept.

        Raises ImageBuildError when it does not load, as after a new QEMU.
        """
        record = self.record
        try:
            with step("go on with the installation", checkpoint=record.checkpoint, reached=record.reached):
                machine.start_process_anew()
                machine.monitor().order(f"loadvm {record.checkpoint}")
                machine.ensure_running()
        except MachineError as error:
            raise ImageBuildError(
                f"What was kept of the installation cannot be gone on with: {error.message}",
                hint="The same command begins anew.",
            ) from error
        if record.tpm is not None:
            drop_tpm(*record.tpm)
        record.calls += 1
        record.tpm = machine.tpm_place
        self.save()

    def fail(self, message: str) -> None:
        """Remember that this try cannot be gone on with, and why."""
        self.record.failure = message
        self.save()

    @property
    def can_go_on(self) -> bool:
        """Whether something of it was kept, and it did not fail."""
        return self.record.checkpoint is not None and self.record.failure is None

    def read(self) -> bool:
        """Read the record; False when there is none that can be read."""
        try:
            self.record = Record(**json.loads((self.folder / _RECORD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return False
        if self.record.tpm is not None:
            self.record.tpm = (self.record.tpm[0], self.record.tpm[1])
        return True

    def remove(self) -> None:
        """Remove the folder, and the TPM that libvirt keeps for it."""
        if self.record.tpm is not None:
            drop_tpm(*self.record.tpm)
        shutil.rmtree(self.folder, ignore_errors=True)


def find_unfinished() -> list[Unfinished]:
    """All installations that are not finished, whether or not they can be gone on with."""
    found = [Unfinished(folder.name) for folder in sorted(installs_root().glob("*")) if folder.is_dir()]
    for unfinished in found:
        unfinished.read()
    return found


def remove_hopeless() -> list[Path]:
    """Remove installations that cannot be gone on with; one that is going on keeps its own. Gives back what it was."""
    removed = []
    for unfinished in find_unfinished():
        if unfinished.can_go_on:
            continue
        with try_lock(unfinished.folder.name) as is_ours:
            if is_ours:
                unfinished.remove()
                removed.append(unfinished.folder)
    return removed


def installs_root() -> Path:
    """Folder of the installations that are not finished."""
    return cache_root() / "installs"
