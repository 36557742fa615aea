"""How QEMU reads and writes a machine's disk: by io_uring where this host lets it, else by a pool of threads.

A revert reads the guest's memory out of the disk's overlay in some ten thousand pieces; handed to a thread and back,
each of them costs more than what is read.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from harness import process
from harness.errors import HarnessError
from harness.ownership import temporary_folder
from harness.waiting import Deadline

_SECONDS = 20.0
# 0: everybody may. 1 and 2 refuse it to processes without privileges, as which libvirt runs QEMU
# (https://docs.kernel.org/admin-guide/sysctl/kernel.html, io_uring_disabled).
_SYSCTL = Path("/proc/sys/kernel/io_uring_disabled")


@cache
def has_io_uring() -> bool:
    """Whether QEMU's block layer was built with io_uring and may use it here: it reads a file by it."""
    try:
        if _SYSCTL.exists() and _SYSCTL.read_text().strip() != "0":
            return False
        with temporary_folder("disk-io") as folder:
            disk = folder / "disk"
            disk.write_bytes(bytes(4096))
            argv = ["qemu-io", "-i", "io_uring", "-f", "raw", "-r", "-c", "read 0 4096", str(disk)]
            return process.run(argv, deadline=Deadline(_SECONDS), check=False).exit_code == 0
    except (HarnessError, OSError):
        return False
