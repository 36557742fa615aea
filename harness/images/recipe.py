"""What an image is made from, and the hashes that say whether two images are the same.

Two layers: the base (Debian packages, kernel, Wine prefix: a minute or more) and the finish (model, init, WinRM
endpoint, secrets: seconds), so that a change of the model does not unpack Debian again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.config import profiles_root
from harness.errors import UsageError

IMAGES_FOLDER = profiles_root()
_BASE_FILES = ("packages.txt", "packages.lock", "excludes.txt", "modules.txt", "base.sh")
_NOT_INPUTS = {"build", "__pycache__", ".mypy_cache", ".ruff_cache"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The files of one image under `vm-images/<name>/`."""

    name: str
    folder: Path

    @property
    def steps(self) -> Path:
        """Package list and build scripts."""
        return self.folder / "recipe"

    @property
    def model(self) -> Path:
        """Source of the WFP model; may be absent."""
        return self.folder / "model"

    @property
    def winsock(self) -> Path:
        """Source of the guest's Winsock, which asks the model; may be absent."""
        return self.folder / "winsock"

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages, some with a version pattern."""
        return _read_list(self.steps / "packages.txt")

    @property
    def excluded_paths(self) -> tuple[str, ...]:
        """Patterns of paths that dpkg leaves out."""
        return _read_list(self.steps / "excludes.txt")

    @property
    def lock(self) -> Path:
        """Exact versions of all packages."""
        return self.steps / "packages.lock"

    def locked_versions(self) -> dict[str, str]:
        """Locked version of every package, the kernel's among them; empty while nothing is locked."""
        return dict(line.split(" ", 1) for line in _read_list(self.lock)) if self.lock.is_file() else {}

    def lock_snapshot(self) -> str:
        """The time of the lock, in the form in which Debian's archive of old versions names its folders."""
        marked = [line.split()[-1] for line in self.lock.read_text().splitlines() if line.startswith("# snapshot ")]
        return marked[0]

    def base_hash(self) -> str:
        """Identity of the base layer."""
        return _hash_files(self.steps, (path for name in _BASE_FILES if (path := self.steps / name).is_file()))

    def image_hash(self) -> str:
        """Identity of the whole image: 12 hexadecimal digits over content, never over times or places."""
        digest = hashlib.sha256(self.base_hash().encode())
        digest.update(_hash_files(self.folder, self._inputs()).encode())
        digest.update(metadata.version("pyspnego").encode())
        return digest.hexdigest()[:12]

    def _inputs(self) -> Iterable[Path]:
        for name in ("recipe", "init", "winrm", "channel", "model", "winsock"):
            for root, folders, files in os.walk(self.folder / name):
                folders[:] = sorted(f for f in folders if f not in _NOT_INPUTS)
                # What a person reads, and tests, do not go into the image.
                yield from (Path(root, f) for f in files if not f.endswith((".md", ".pyc")))


def load_recipe(name: str) -> Recipe:
    """The recipe of an image; UsageError with what exists when there is none of that name."""
    folder = IMAGES_FOLDER / name
    if not (folder / "recipe" / "packages.txt").is_file():
        known = sorted(path.parts[-3] for path in IMAGES_FOLDER.glob("*/recipe/packages.txt"))
        raise UsageError(
            f"There is no image recipe named '{name}'.", hint=f"Known recipes: {', '.join(known) or 'none'}."
        )
    return Recipe(name=name, folder=folder)


def load_recipes() -> list[Recipe]:
    """All recipes of this checkout."""
    return [Recipe(name=path.parts[-3], folder=path.parents[1]) for path in IMAGES_FOLDER.glob("*/recipe/packages.txt")]


def _read_list(path: Path) -> tuple[str, ...]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return tuple(line for line in lines if line)


def _hash_files(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        mode = "x" if os.access(path, os.X_OK) else "-"
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder)}\0{mode}\0{content}\n".encode())
    return digest.hexdigest()[:12]
