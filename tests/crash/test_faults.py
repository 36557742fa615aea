"""The crashing driver, loaded over the model by Wine on this host: each fault becomes its bugcheck, record and dump.

A host's ports are not touched: where WFP_MODEL_CONSOLE is set nothing is told to a panic device.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.driver.build import build_all, find_built
from harness.driver.crash import Crash, find_record
from harness.driver.crash_driver import Wish
from harness.driver.kernel_dump import KernelDump, read_dump
from harness.driver.symbols import ModuleNames
from tests.building import build

SOURCES = Path(__file__).parent
MODEL = SOURCES.parents[1] / "vm-images" / "reference" / "model"
SURVIVED = 3
ACCESS_VIOLATION, ASSERTION_FAILURE = 0xC0000005, 0xC0000420

pytestmark = [
    pytest.mark.wine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="mingw-w64 is not installed"),
]


@dataclass(frozen=True)
class Seen:
    """What came of one wish."""

    exit_code: int
    said: str
    crash: Crash | None
    dump: KernelDump | None


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the driver, the model and the program that loads them."""
    folder = tmp_path_factory.mktemp("rig")
    build(MODEL, "build/fwpkclnt.sys", "build/ndis.sys")
    for path in (build_all(test_sign=False)["wfpcrash.sys"], *(MODEL / "build").glob("*.sys")):
        shutil.copy(path, folder)
    compiler = ["x86_64-w64-mingw32-gcc", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*compiler, "-o", folder / "crash_rig.exe", SOURCES / "crash_rig.c"], check=True)
    return folder


@pytest.fixture
def load(wine: Any, rig: Path, tmp_path: Path) -> Any:
    """Load the driver with a wish."""

    def load(wish: Wish) -> Seen:
        console, dump = tmp_path / "console", tmp_path / "MEMORY.DMP"
        console.write_text("")
        overrides = wine.environment["WINEDLLOVERRIDES"] + ";fwpkclnt.sys,ndis.sys=n"
        places = {"WFP_MODEL_CONSOLE": str(console), "WFP_MODEL_DUMP": str(dump)}
        done = subprocess.run(
            [wine.program, "crash_rig.exe", str(int(wish))],
            cwd=rig,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**wine.environment, "WINEDLLOVERRIDES": overrides, **places},
        )
        said = console.read_text()
        return Seen(done.returncode, said, find_record(said), read_dump(dump) if dump.exists() else None)

    return load


def test_without_a_wish_nothing_happens(load: Any) -> None:
    seen = load(Wish.NONE)

    assert (seen.exit_code, seen.said, seen.crash, seen.dump) == (SURVIVED, "", None, None)


@pytest.mark.parametrize(
    ("wish", "code", "parameter", "function"),
    [
        (Wish.POINTER, 0x7E, ACCESS_VIOLATION, "use_bad_pointer"),
        (Wish.DISPATCH, 0xD1, 0x10, "use_bad_pointer"),
        (Wish.DOUBLE_FREE, 0xC2, 7, "free_twice"),
        (Wish.BUGCHECK, 0xE2, 1, "begin"),
        (Wish.ASSERTION, 0x7E, ASSERTION_FAILURE, ""),
        (Wish.STACK, 0x7F, 8, "recurse"),
        (Wish.UNLOAD, 0x7E, ACCESS_VIOLATION, "use_bad_pointer"),
        (Wish.FASTFAIL, 0x139, 3, "begin"),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Wish) else "",
)
def test_a_fault_becomes_its_bugcheck(load: Any, wish: Wish, code: int, parameter: int, function: str) -> None:
    seen = load(wish)

    assert seen.crash is not None, seen.said
    assert (seen.crash.code, seen.crash.parameters[0]) == (code, parameter)
    assert f"wfp-hil: model: bugcheck {code:#x} ({parameter:#x}, " in seen.said
    place = seen.crash.place
    assert place is not None
    assert place.module == "wfpcrash.sys"
    names = ModuleNames(find_built)
    assert names(place, seen.crash.behind(place)).startswith(f"{function} at crash.c:" if function else "")
    assert seen.dump is not None
    assert (seen.dump.code, seen.dump.parameters, seen.dump.kind) == (code, seen.crash.parameters, "header")
    assert seen.dump.is_complete


def test_the_instruction_and_the_time_of_a_fault_are_in_the_dump(load: Any) -> None:
    seen = load(Wish.POINTER)

    assert seen.crash is not None
    assert seen.dump is not None
    assert seen.dump.instruction == seen.crash.parameters[1]
    assert seen.dump.time is not None
    assert seen.dump.up_seconds == pytest.approx(seen.crash.time)


def test_a_list_that_is_freed_twice_is_reported_before_the_guest_goes(load: Any) -> None:
    seen = load(Wish.DOUBLE_FREE)

    assert '"rule":"W245"' in seen.said
    assert seen.said.index('"rule":"W245"') < seen.said.index("bugcheck 0xc2")
