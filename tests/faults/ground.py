"""A ground of its own for faults: a cache whose overlays lie on a small disk, and a libvirt beside the host's."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.config.directories import cache_root
from harness.process import run
from harness.waiting import Deadline, wait_for

_DISK_MB = 1500


@contextmanager
def own_ground() -> Iterator[dict[str, str]]:
    """The environment in which a run breaks nobody else's machines; needs root. Images are those of the usual cache."""
    with tempfile.TemporaryDirectory(prefix="wfp-hil-faults-", dir="/tmp") as name:
        folder = Path(name)
        for part in ("run", "config", "cache", "data", "hil", "hil/state"):
            (folder / part).mkdir(mode=0o711)
        for part in ("images", "bases", "booted", "media"):
            (folder / "hil" / part).symlink_to(cache_root() / part)
        state = folder / "hil" / "state"
        run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m,mode=0711", "wfp-hil-faults", state])
        variables = {
            **os.environ,
            "WFP_HIL_CACHE": str(folder / "hil"),
            "WFP_HIL_LIBVIRT_URI": "qemu:///session",
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
        }
        try:
            yield variables
        finally:
            for daemon in ("libvirtd", "virtlogd"):
                _end(folder / "run" / "libvirt" / f"{daemon}.pid", daemon)
            run(["umount", state], deadline=Deadline(20))


def _end(record: Path, name: str) -> None:
    with suppress(OSError, ValueError):
        pid = int(record.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: None if Path(f"/proc/{pid}").exists() else True, Deadline(20), f"{name} to end")
