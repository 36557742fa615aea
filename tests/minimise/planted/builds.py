"""Sixteen builds of the reference driver with a ledger in it: from the eleventh on with a mistake."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from harness.driver import build_all

BUILDS = 16
FIRST_BAD = 11
REFUSING = 8  # does not load, and a bisection of all comes to it first
MODULE = "ledger.sys"

_SOURCE = Path(__file__).with_name("ledger.c")
_DRIVERS = Path(__file__).parents[3] / "drivers"
_CROSS = "x86_64-w64-mingw32-"


def can_build() -> bool:
    """Whether this host has the compiler."""
    return shutil.which(f"{_CROSS}gcc") is not None


def build(number: int, folder: Path) -> Path:
    """One build as `folder/<number>/ledger.sys`, with its debug information beside it."""
    build_all(test_sign=False)
    target = folder / f"{number:02}" / MODULE
    target.parent.mkdir(parents=True, exist_ok=True)
    part, whole, resource = (target.with_suffix(suffix) for suffix in (".o", ".debug", ".res"))
    products = _DRIVERS / "build"
    subprocess.run(
        [f"{_CROSS}gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fstack-protector-strong",
         "-mno-red-zone", f"-I{_DRIVERS}", f"-I{_DRIVERS}/include", f"-I{_DRIVERS}/include/mingw", f"-DBUILD={number}",
         f"-DFIRST_BAD={FIRST_BAD}", f"-DREFUSING={REFUSING}", "-c", _SOURCE, "-o", part],
        check=True,
    )  # fmt: skip
    subprocess.run(
        [
            f"{_CROSS}windres",
            "--codepage=65001",
            f"-DBUILD={number}",
            "-O",
            "coff",
            _SOURCE.with_suffix(".rc"),
            resource,
        ],
        check=True,
    )
    subprocess.run(
        [f"{_CROSS}gcc", "-nostdlib", "-Wl,--subsystem,native:10.0", "-Wl,--major-os-version,10",
         "-Wl,--minor-os-version,0", "-Wl,--entry,DriverStart", "-Wl,--image-base,0x140000000", "-Wl,--dynamicbase",
         "-Wl,--high-entropy-va", "-Wl,--nxcompat", "-Wl,--enable-reloc-section", "-Wl,--exclude-all-symbols",
         "-Wl,--no-insert-timestamp", "-Wl,--wrap=engine_start", "-Wl,--wrap=engine_stop", part,
         *sorted((products / "callout").glob("*.o")), resource,
         f"-L{products}", "-lfwpkclnt", "-lndis", "-lntoskrnl", "-lhal", "-o", whole],
        check=True,
    )  # fmt: skip
    subprocess.run([f"{_CROSS}objcopy", "--preserve-dates", "--strip-all", whole, target], check=True)
    part.unlink()
    resource.unlink()
    return target


def build_series(folder: Path) -> list[Path]:
    """All of them, oldest first."""
    return [build(number, folder) for number in range(1, BUILDS + 1)]
