"""QEMU processes of our machines on this host, found without libvirt: it may be the one that is gone."""

from __future__ import annotations

import os
import pwd
import signal
from contextlib import suppress
from pathlib import Path

from harness.hypervisor.state import DOMAIN_PREFIX
from harness.waiting import Deadline, wait_for

_END_SECONDS = 10.0
_OOM_COUNTER = Path("/proc/vmstat")


def find_processes() -> list[tuple[int, str]]:
    """Process number and domain name of every QEMU of ours on this host."""
    users = _users()
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [(pid, name) for pid in numbers if (name := domain_of(pid)) and _user_of(pid) in users]


def find_process(name: str) -> int | None:
    """Process number of the QEMU of this domain; None when there is none, or it has ended."""
    return next((pid for pid, domain in find_processes() if domain == name), None)


def domain_of(pid: int) -> str | None:
    """Name of the domain that this process is the QEMU of; None when it is none of ours, or has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if b"qemu-system" not in words[0] or b"-name" not in words:
        return None
    value = words[words.index(b"-name") + 1].decode(errors="replace")
    name = value.split(",")[0].removeprefix("guest=")
    return name if name.startswith(DOMAIN_PREFIX) else None


def is_stopped(pid: int) -> bool:
    """Whether a signal stopped the process, so that nothing of the guest runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] in "Tt"


def end_process(pid: int, name: str) -> None:
    """End the QEMU of a domain, if that process still is it. Raises DeadlineExpired when it does not go."""
    if domain_of(pid) != name:
        return  # it ended, and another program may have its number now
    with suppress(ProcessLookupError):  # it ended by itself since
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: True if domain_of(pid) is None else None, Deadline(_END_SECONDS), f"QEMU with pid {pid} to end")


def end_without_libvirt(name: str) -> None:
    """End the QEMU of a domain whose libvirt cannot be asked any more; harmless when it has ended."""
    pid = find_process(name)
    if pid is not None:
        end_process(pid, name)


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory since this host booted, in whatever cgroup."""
    try:
        lines = _OOM_COUNTER.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _users() -> set[int]:
    """Users whose QEMUs the libvirt of this user looks after; another user's session has its own."""
    if os.geteuid() != 0:
        return {os.geteuid()}
    return {0} | {entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in ("libvirt-qemu", "qemu")}


def _user_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None
