"""Where the harness keeps what outlives a run, and where profiles are found."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Folder of images and run state: $WFP_HIL_CACHE, else /var/cache/wfp-hil for root, else ~/.cache/wfp-hil.

    Root's default lies outside any home, because QEMU then runs as another user who has to read it.
    """
    named = os.environ.get("WFP_HIL_CACHE")
    if named:
        return Path(named).absolute()
    return Path("/var/cache/wfp-hil") if os.geteuid() == 0 else Path.home() / ".cache" / "wfp-hil"


def state_root() -> Path:
    """Folder with one sub-folder for every machine that runs, or ran and was not cleaned up."""
    return cache_root() / "state"


def project_root() -> Path:
    """This checkout."""
    return Path(__file__).resolve().parents[2]


def profiles_root() -> Path:
    """The folder `vm-images` of this checkout."""
    return project_root() / "vm-images"
