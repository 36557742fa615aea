"""Whose machine is it: the process that started it, told apart from a later one with the same number."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

OWNER_NAMESPACE = "urn:wfp-hil:owner"


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

    def is_alive(self) -> bool:
        """Whether this very process still runs, not another one that got its number."""
        return self.host_boot == host_boot() and _started(self.pid) == self.started


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
