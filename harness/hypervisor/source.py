"""What a machine starts from: an image that it only reads, or the disks of an installation that it writes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class BootImage(Protocol):
    """What a machine needs of an image; `harness.images.Image` is one."""

    @property
    def disk(self) -> Path: ...  # noqa: D102
    @property
    def kernel(self) -> Path | None: ...  # noqa: D102
    @property
    def initrd(self) -> Path | None: ...  # noqa: D102
    @property
    def nvram(self) -> Path | None: ...  # noqa: D102
    @property
    def tpm(self) -> Path | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A machine that is being installed: it writes to the disks in `folder` themselves, and has media and memory."""

    folder: Path
    cdroms: tuple[Path, ...]
    memory_mib: int

    @property
    def disk(self) -> Path:
        """The disk that is installed onto."""
        return self.folder / "disk.qcow2"

    kernel = initrd = nvram = tpm = None
