"""A ground of its own for faults: mounts that no other process sees, with a small disk for overlays and a libvirt.

    unshare --mount --propagation private python -m tests.faults.ground FOLDER SECONDS wfp-hil run ...

runs the command there for so long at most, then `wfp-hil clean`, and writes what was left into FOLDER/left.json. FOLDER
is one that QEMU's own user may enter. Nobody else's machines are within reach: the daemon that this libvirt talks to
was started here, and serves nobody else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

from harness.config.directories import cache_root
from harness.hypervisor import connect
from harness.process import Completed, run
from harness.waiting import Deadline, wait_for
from tests.running import ROOT, WFP_HIL

DISK_MB = 1500
_HIDDEN = ("/run", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/etc/libvirt/qemu")


def is_private() -> bool:
    """Whether this process stands on such a ground."""
    return "\nwfp-hil-faults /run tmpfs" in Path("/proc/self/mounts").read_text()


def run_there(folder: Path, *words: str | Path, seconds: float = 800) -> tuple[Completed, dict[str, list[str]]]:
    """Run a command on a ground of its own; what it printed, and what was left."""
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.faults.ground"]
    done = run([*argv, folder, str(seconds), *words], cwd=ROOT, deadline=Deadline(seconds + 60), check=False)
    left = folder / "left.json"
    return done, json.loads(left.read_text()) if left.is_file() else {}


def main(folder: Path, seconds: float, words: list[str]) -> int:
    """What happens inside."""
    usual = cache_root()
    own = folder / "cache"
    own.mkdir(mode=0o711)
    for part in ("images", "bases", "booted", "media"):
        (own / part).symlink_to(usual / part)
    (own / "state").mkdir()
    for place in (*_HIDDEN, own / "state"):
        options = f"size={DISK_MB}m,mode=0755"
        run(["mount", "-t", "tmpfs", "-o", options, "wfp-hil-faults", place])
    shutil.copyfile(usual / "state" / "accelerator.json", own / "state" / "accelerator.json")
    os.environ |= {"WFP_HIL_CACHE": str(own), "PYTHONPATH": str(ROOT)}
    os.environ.pop("WFP_HIL_LIBVIRT_URI", None)
    try:
        done = run(words, deadline=Deadline(seconds), check=False)
        print(done.stdout, done.stderr, flush=True)
        cleaned = run([WFP_HIL, "clean"], deadline=Deadline(60), check=False)
        connection = connect()
        left = {
            "clean": cleaned.stdout.splitlines() + cleaned.stderr.splitlines(),
            "state": sorted(path.name for path in (own / "state").iterdir()),
            "domains": [domain.name() for domain in connection.listAllDomains()],
        }
        connection.close()
        (folder / "left.json").write_text(json.dumps(left))
        return done.exit_code
    finally:
        for daemon in ("libvirtd", "virtlogd"):
            _end(Path(f"/run/{daemon}.pid"), daemon)


def _end(record: Path, name: str) -> None:
    with suppress(OSError, ValueError):
        pid = int(record.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: None if Path(f"/proc/{pid}").exists() else True, Deadline(20), f"{name} to end")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
