"""Where images lie on the host, who may build one, and which are complete.

An image is complete when its `image.json` exists in its final folder: the folder is filled under a temporary name
and renamed as the last act, so that a half-built image is never seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.directories import cache_root
from harness.errors import ImageBuildError
from harness.images import scratch
from harness.steps import note
from harness.waiting import Deadline
from harness.waiting import lock as wait_for_lock

TEMPORARY = ".building-"
_OTHERS_SECONDS = 1800.0  # what a build may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A complete image: a folder with the disk, what boots it, and its secrets."""

    path: Path
    name: str
    hash: str
    manifest: dict[str, Any]

    @property
    def disk(self) -> Path:
        """Compressed qcow2, never written to: machines use it as backing file."""
        return self.path / "disk.qcow2"

    @property
    def kernel(self) -> Path | None:
        """Kernel for direct boot; an image that was installed from a medium boots by its firmware."""
        return self._file("vmlinuz")

    @property
    def initrd(self) -> Path | None:
        """Initial RAM disk for direct boot."""
        return self._file("initrd.img")

    @property
    def nvram(self) -> Path | None:
        """NVRAM of UEFI firmware as the installation left it, qcow2."""
        return self._file("nvram.qcow2")

    @property
    def tpm(self) -> Path | None:
        """Folder with the state of its TPM."""
        return self.path / "tpm" if self.manifest.get("tpm") else None

    @property
    def secrets(self) -> Path:
        """Folder with winrm.pem, winrm.json, ssh_key and ssh_host.pub."""
        return self.path / "secrets"

    def _file(self, name: str) -> Path | None:
        return self.path / name if name in self.manifest["files"] else None


def images_root() -> Path:
    """Folder of all images; made when it is missing."""
    root = cache_root() / "images"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageBuildError(
            f"The image folder '{root}' cannot be made: {error.strerror}.",
            hint="Set WFP_HIL_CACHE to a folder that you may write to.",
        ) from error
    return root


def load_image(path: Path) -> Image | None:
    """The image in this folder, or None when it is not complete."""
    try:
        manifest = json.loads((path / "image.json").read_text())
        image = Image(path=path, name=manifest["name"], hash=manifest["hash"], manifest=manifest)
    except (OSError, ValueError, KeyError):
        return None
    sizes = manifest.get("files", {})
    if image.disk.name not in sizes:
        return None
    for name, size in sizes.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            return None
    return image if (image.secrets / "winrm.json").is_file() else None


def list_images() -> list[Image]:
    """All complete images, newest first."""
    found = [load_image(path) for path in images_root().iterdir() if path.is_dir()]
    return sorted((image for image in found if image), key=lambda image: str(image.manifest["built"]), reverse=True)


@contextmanager
def build_lock(name: str) -> Iterator[None]:
    """Held by the one process that may build images called `name`; others wait for it, and say so."""
    path = images_root() / f".{name}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process builds image '{name}': waiting for it")
            wait_for_lock(file, Deadline(_OTHERS_SECONDS), f"the other process to have built image '{name}'")
        yield


@contextmanager
def try_lock(name: str) -> Iterator[bool]:
    """Whether nobody builds images called `name`; if so, nobody can begin to until the block ends."""
    with (images_root() / f".{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def remove_broken_builds() -> list[Path]:
    """Remove what killed builds left, of all names; a build that goes on keeps its own. Gives back what was removed."""
    removed = scratch.remove_abandoned()
    for lock in sorted(images_root().glob(".*.lock")):
        name = lock.name.removeprefix(".").removesuffix(".lock")
        with try_lock(name) as is_ours:
            if is_ours:
                removed += remove_broken(name)
    return removed


def remove_broken(name: str) -> list[Path]:
    """Remove the half-made images and base layers of one name; the caller holds its lock."""
    found = [*images_root().glob(f"{TEMPORARY}{name}-*"), *(cache_root() / "bases").glob(f"{name}-*.half.tar")]
    for path in found:
        if path.is_dir():
            scratch.remove_tree(path)
        else:
            path.unlink(missing_ok=True)
    return found


def remove_stale(keep: frozenset[str] = frozenset()) -> list[Path]:
    """Remove what killed builds left, and images whose hash is not in `keep`; gives back what was removed."""
    removed = remove_broken_builds()
    for image in list_images():
        if image.hash not in keep:
            remove_image(image.path)
            removed.append(image.path)
    return removed


def remove_image(path: Path) -> None:
    """Remove an image, its manifest first, so that a half-removed one is not taken for one; and its kept states."""
    with contextlib.suppress(OSError):
        (path / "image.json").unlink()
    shutil.rmtree(path, ignore_errors=True)
    for state in (cache_root() / "booted").glob(f"{path.name}-*"):
        state.unlink(missing_ok=True)
