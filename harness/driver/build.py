"""Builds our own driver and probe with the Makefile in `drivers/`, when their sources changed, and test-signs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.config import project_root
from harness.driver.sign import make_certificate, sign
from harness.errors import DriverBuildError, HostError
from harness.ownership import temporary_folder
from harness.process import run
from harness.steps import step
from harness.waiting import Deadline, lock

_DRIVER = "wfpcallout.sys"
PRODUCTS = (_DRIVER, "wfpprobe.exe", "wfpcrash.sys", "wfpcallout2.sys")
_SOURCES = (".c", ".h", ".mk", ".def", ".rc")
_BUILD_SECONDS = 300.0


def drivers_root() -> Path:
    """The folder `drivers` of this checkout."""
    return project_root() / "drivers"


def build_all(root: Path | None = None, *, deadline: Deadline | None = None, test_sign: bool = True) -> dict[str, Path]:
    """Paths of all products by name; `make` runs only when a source is not the one they were built from.

    With `test_sign` the driver is the signed one in `build/signed`; its certificate is made on the spot.
    Raises DriverBuildError with what the compiler said, SigningError.
    """
    root = root or drivers_root()
    if not (root / "Makefile").is_file():
        raise DriverBuildError(f"'{root / 'Makefile'}' does not exist.", hint="Is this a complete checkout?")
    with _locked(root / "build"):
        products = _built(root, deadline or Deadline(_BUILD_SECONDS))
        if test_sign:
            products[_DRIVER] = _signed(products[_DRIVER])
    return products


def _built(root: Path, deadline: Deadline) -> dict[str, Path]:
    folder = root / "build"
    stamp, wanted = folder / "sources.sha256", hash_sources(root)
    products = {name: folder / name for name in PRODUCTS}
    if stamp.is_file() and stamp.read_text() == wanted and all(path.is_file() for path in products.values()):
        return products
    with step("build the driver and the probe"):
        try:
            run(["make", "-C", root, "--no-print-directory"], deadline=deadline)
        except HostError as error:
            raise DriverBuildError(
                f"The driver and the probe could not be built: {error.message}",
                hint=error.hint or "'make -C drivers' shows all of it; 'make setup' installs the compiler.",
            ) from error
    missing = [name for name, path in products.items() if not path.is_file()]
    if missing:
        raise DriverBuildError(f"'make -C {root}' ended well but made no {' and no '.join(missing)}.")
    stamp.write_text(wanted)
    return products


def _signed(driver: Path) -> Path:
    target = driver.parent / "signed" / driver.name
    inf = driver.parents[1] / "callout" / f"{driver.stem}.inf"
    if inf.is_file():
        target.parent.mkdir(exist_ok=True)
        _renew(target.with_suffix(".inf"), inf.read_bytes())
    if target.is_file() and target.stat().st_mtime_ns >= driver.stat().st_mtime_ns:
        return target
    target.parent.mkdir(exist_ok=True)
    return sign(driver, target, make_certificate(driver.parent / "certificate"))


def _renew(path: Path, content: bytes) -> None:
    """Another process may be reading it, without the lock: it is replaced as a whole, and only by something else."""
    if path.is_file() and path.read_bytes() == content:
        return
    with temporary_folder("renewed", beside=path.parent) as scratch:
        (scratch / path.name).write_bytes(content)
        (scratch / path.name).replace(path)


def certificate_folder() -> Path:
    """Where this checkout keeps its test certificate."""
    return drivers_root() / "build" / "certificate"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One build at a time, whoever else runs."""
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as file:
        lock(file, Deadline(_BUILD_SECONDS), f"another build in '{folder}' to end")
        yield


def find_built(name: str, root: Path | None = None) -> Path | None:
    """A product that was built before, or None."""
    path = (root or drivers_root()) / "build" / name
    return path if path.is_file() else None


def hash_sources(root: Path) -> str:
    """SHA-256 over the names and contents of everything that the build reads."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        is_product = path.is_relative_to(root / "build")
        if path.is_file() and not is_product and (path.suffix in _SOURCES or path.name == "Makefile"):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root)} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
