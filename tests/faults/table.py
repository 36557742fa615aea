"""Faults of the host, each truly made on a machine that runs: what a harness must never take for the driver's."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.hypervisor import connect
from harness.hypervisor.qemu_process import find_process
from harness.waiting import Deadline, wait_for
from tests.faults.ground import is_private

MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")
_SMALL_FILE = 300_000  # some blocks of SFTP: it can be cut in the middle


@dataclass(frozen=True, slots=True)
class Fault:
    """`make` makes it on a bench, at once; the stack undoes what outlives it. `cause` is what the outcome must say.

    `harmless` is one that the harness gets over by itself.
    """

    name: str
    make: Callable[[Any, ExitStack], None]
    cause: str
    harmless: bool = False
    needs: Callable[[], str | None] = field(default=lambda: None)
    """Why it cannot be made here, or None."""


def _kill_qemu(bench: Any, stack: ExitStack) -> None:
    os.kill(_qemu(bench), signal.SIGKILL)


def _stop_qemu(bench: Any, stack: ExitStack) -> None:
    os.kill(_qemu(bench), signal.SIGSTOP)


def _switch_off(bench: Any, stack: ExitStack) -> None:
    bench.guest.shut_down()


def _suspend(bench: Any, stack: ExitStack) -> None:
    connection = connect()
    try:
        connection.lookupByName(bench.machine.name).suspend()
    finally:
        connection.close()


def _run_out_of_memory(bench: Any, stack: ExitStack) -> None:
    """Put QEMU into a memory cgroup that has no room left: the kernel ends it at the next page that it wants."""
    group = MEMORY_CGROUPS / f"{bench.machine.name}-oom"
    group.mkdir()
    stack.callback(_remove_group, group)
    (group / "memory.limit_in_bytes").write_text(str(1 << 20))
    for thread in Path(f"/proc/{_qemu(bench)}/task").iterdir():
        (group / "tasks").write_text(thread.name)
    bench.guest.files.shell("dd if=/dev/urandom of=/dev/shm/more bs=1M count=200", Deadline(60))


def _remove_group(group: Path) -> None:
    for pid in (group / "tasks").read_text().split():  # one that was not ended
        (MEMORY_CGROUPS / "tasks").write_text(pid)
    group.rmdir()


def _fill_the_disk(bench: Any, stack: ExitStack) -> None:
    """Take all room that the overlay's file system has left, and have the guest write."""
    ballast = bench.machine.disk.with_name("ballast")
    stack.callback(ballast.unlink, missing_ok=True)
    room = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (1 << 20))
    bench.guest.files.shell("dd if=/dev/urandom of=/more bs=1M count=64 conv=fsync", Deadline(60))
    wait_for(lambda: None if bench.machine.is_alive() else True, Deadline(60), "the disk to be full")


def _shared() -> str | None:
    return None if is_private() else "others use this host's disk and libvirt: see ground.py"


def _cut_link(bench: Any, stack: ExitStack) -> None:
    bench.link._connection.shutdown(socket.SHUT_RDWR)


def _cut_sftp(times: int) -> Callable[[Any, ExitStack], None]:
    def make(bench: Any, stack: ExitStack) -> None:
        source = bench.options.out / "sent.bin"
        source.write_bytes(os.urandom(_SMALL_FILE))
        stack.callback(source.unlink)
        cuts = iter(range(times))

        def cut(done: int, size: int) -> None:
            if size // 3 < done < size and next(cuts, None) is not None:
                bench.guest.files._connection._ssh.sock.shutdown(socket.SHUT_RDWR)

        bench.guest.upload(source, r"C:\wfp-hil\sent.bin", progress=cut)

    return make


def _kill_libvirtd(bench: Any, stack: ExitStack) -> None:
    assert is_private()
    os.kill(int(Path("/run/libvirtd.pid").read_text()), signal.SIGKILL)


def _no_cgroups() -> str | None:
    usable = os.access(MEMORY_CGROUPS / "tasks", os.W_OK) and "oom_kill " in Path("/proc/vmstat").read_text()
    return None if usable else "this user may make no memory cgroup (version 1) here"


FAULTS = (
    Fault("qemu-killed", _kill_qemu, "QEMU ended unexpectedly"),
    Fault("qemu-stopped", _stop_qemu, "a signal stopped its QEMU process"),
    Fault("host-out-of-memory", _run_out_of_memory, "for want of memory", needs=_no_cgroups),
    Fault("guest-switched-off", _switch_off, "the guest shut down"),
    Fault("machine-suspended", _suspend, "somebody else paused its processors"),
    Fault("libvirtd-killed", _kill_libvirtd, "libvirt's daemon ended or was started anew", needs=_shared),
    Fault("disk-full", _fill_the_disk, "no space left on the host's disk", needs=_shared),
    Fault("link-cut", _cut_link, "The link to the guest was lost while its machine went on"),
    Fault("sftp-cut", _cut_sftp(1), "", harmless=True),
    Fault("sftp-cut-twice", _cut_sftp(2), "was cut twice while sending 'sent.bin'"),
)


def find_fault(name: str) -> Fault:
    """The fault of this name."""
    return next(fault for fault in FAULTS if fault.name == name)


def is_told(fault: Fault, message: str) -> bool:
    """Whether an outcome's message names the cause."""
    return re.search(re.escape(fault.cause), message) is not None


@contextmanager
def made(fault: Fault, bench: Any) -> Iterator[None]:
    """The fault is made, and what outlives it is undone at the end of the block."""
    with ExitStack() as stack:
        fault.make(bench, stack)
        yield


def _qemu(bench: Any) -> int:
    pid = find_process(bench.machine.name)
    assert pid is not None, "QEMU is gone already"
    return pid
