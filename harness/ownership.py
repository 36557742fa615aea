"""Whose is it: the process that made a machine, a program or a folder, told apart from a later one of that number.

What a killed process left is known by the mark of its owner: in the metadata of domains, in the environment of
programs, in the names of folders. What an owner that is alive has is never touched.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import DeadlineExpired
from harness.waiting import Deadline, wait_for

OWNER_NAMESPACE = "urn:wfp-hil:owner"
OWNER_VARIABLE = "WFP_HIL_OWNER"
_PREFIX = "wfp-hil-"
_END_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process: its number, its start in clock ticks since the host booted, and which boot of the host that was."""

    pid: int
    started: int
    host_boot: str

    @classmethod
    def this_process(cls) -> Owner:
        """The process that runs this code."""
        return cls(pid=os.getpid(), started=_started(os.getpid()) or 0, host_boot=host_boot())

    @classmethod
    def of_mark(cls, text: str) -> Owner | None:
        """Whom a `mark` that stands at the beginning of a text names; None where there is none."""
        found = re.match(r"([0-9]+)\.([0-9]+)\.([0-9a-f]{8})(?![0-9a-f])", text)
        return cls(pid=int(found[1]), started=int(found[2]), host_boot=found[3]) if found else None

    @property
    def mark(self) -> str:
        """The owner in letters that may stand in the name of a file: process, start, beginning of the boot's id."""
        return f"{self.pid}.{self.started}.{self.host_boot[:8]}"

    def is_alive(self) -> bool:
        """Whether this very process still runs, not another one that got its number."""
        return host_boot().startswith(self.host_boot or "-") and _started(self.pid) == self.started


def end_with_parent() -> None:
    """From here on, whoever kills the process that started this one has killed this one as well.

    The kernel sends the signal when the thread ends that did the starting: it is to be the parent's main thread.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), signal.SIGKILL)


def host_boot() -> str:
    """Identity of the host's current boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
    if fields[0] == "Z":
        return None
    return int(fields[19])


@contextmanager
def temporary_folder(purpose: str, *, beside: Path | None = None, passable: bool = False) -> Iterator[Path]:
    """A folder for as long as the block takes: among the host's temporary ones, or in `beside`.

    Nobody else sees what is in it; `passable` where QEMU, which may run as another user, is to reach files of known
    names.
    If this process is killed, it carries the mark by which the next one to work there, or `wfp-hil clean`, knows it.
    """
    if beside is not None:
        for folder in abandoned_folders(beside):
            shutil.rmtree(folder, ignore_errors=True)
    prefix = f"{_PREFIX}{purpose}-{Owner.this_process().mark}-"
    with TemporaryDirectory(prefix=prefix, dir=beside, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if passable:
            folder.chmod(0o711)
        yield folder


def abandoned_folders(parent: Path) -> list[Path]:
    """Temporary folders of this user there whose owners have ended."""
    found = []
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        with suppress(OSError):  # its owner removes it at this moment
            owner = owner_of_folder(folder)
            if owner is not None and not owner.is_alive() and folder.stat().st_uid == os.geteuid():
                found.append(folder)
    return found


def owner_of_folder(folder: Path) -> Owner | None:
    """Whose mark the name of a folder carries behind its first words; None when it carries none."""
    found = re.match(rf"{_PREFIX}[a-z-]+-(?=[0-9])", folder.name)
    return Owner.of_mark(folder.name[found.end() :]) if found else None


def abandoned_programs() -> list[tuple[int, str]]:
    """Process number and name of the programs that ended harnesses started, and of what those started in turn."""
    kin = _ancestors(os.getpid())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in kin:
            with suppress(OSError):
                owner = _owner_of_program(entry)
                if owner is not None and not owner.is_alive():
                    found.append((int(entry.name), (entry / "comm").read_text(errors="replace").strip()))
    return sorted(found)


def end_abandoned(pid: int) -> None:
    """End such a program, if it still is one: asked first, so that a make or a compiler removes what is half done."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _is_abandoned(pid):
            return
        with suppress(OSError):
            os.kill(pid, number)
        with suppress(DeadlineExpired):
            wait_for(lambda: None if _is_abandoned(pid) else True, Deadline(_END_SECONDS), f"process {pid} to end")


def _is_abandoned(pid: int) -> bool:
    try:
        owner = _owner_of_program(Path("/proc", str(pid)))
    except OSError:
        return False
    return owner is not None and not owner.is_alive()


def _owner_of_program(entry: Path) -> Owner | None:
    wanted = f"{OWNER_VARIABLE}=".encode()
    for word in (entry / "environ").read_bytes().split(b"\0"):
        if word.startswith(wanted):
            return Owner.of_mark(word[len(wanted) :].decode(errors="replace"))
    return None


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        pid = int(stat[stat.rindex(")") + 2 :].split()[1])
    return found
