"""Removable media: mounted read-only, and searched as Windows Setup searches them."""

from __future__ import annotations

import subprocess
from pathlib import Path

_MOUNTS = Path("/run/media")


def mount_removable() -> list[Path]:
    """Mount every CD and every removable disk; gives back their roots in the order of their names."""
    roots = []
    for block in sorted(Path("/sys/block").iterdir()):
        if not block.name.startswith(("sr", "sd")) or (block / "removable").read_text().strip() != "1":
            continue
        target = _MOUNTS / block.name
        target.mkdir(parents=True, exist_ok=True)
        kinds = ("udf", "iso9660") if block.name.startswith("sr") else ("vfat", "udf")
        if any(_mount(f"/dev/{block.name}", target, kind) for kind in kinds):
            roots.append(target)
    return roots


def _mount(device: str, target: Path, kind: str) -> bool:
    words = ["mount", "-t", kind, "-o", "ro", device, str(target)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def find(root: Path, *names: str) -> Path | None:
    """A file below a root by its path, whatever the case of its letters; None when there is none."""
    place = root
    for name in names:
        try:
            entries = sorted(place.iterdir())
        except OSError:
            return None
        matching = [entry for entry in entries if entry.name.lower() == name.lower()]
        if not matching:
            return None
        place = matching[0]
    return place if place.is_file() else None


def find_answer_file(roots: list[Path]) -> Path | None:
    """The answer file: 'Autounattend.xml' in the root of removable media, the first drive first.

    https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-automation-overview
    """
    return next((path for root in roots if (path := find(root, "autounattend.xml"))), None)
