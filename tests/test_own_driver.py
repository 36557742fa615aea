"""A driver that knows nothing of this project, tried on a real guest by scenarios of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running import run_scenarios

ROOT = Path(__file__).parents[1]
SOURCES = Path(__file__).parent / "own_driver"

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def portblock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver, built and not signed."""
    compiler = shutil.which("x86_64-w64-mingw32-gcc")
    if compiler is None:
        pytest.skip("no mingw-w64 here")
    drivers = ROOT / "drivers"
    subprocess.run(["make", "-s", "-C", drivers], check=True)
    target = tmp_path_factory.mktemp("own") / "portblock.sys"
    flags = [
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fno-stack-protector",
        "-mno-red-zone",
        "-nostdlib",
        "-shared",
    ]
    links = [
        "-nostdlib",
        "-shared",
        "-lfwpkclnt",
        "-lndis",
        "-lntoskrnl",
        "-Wl,--subsystem,native",
        "-Wl,--entry,DriverEntry",
    ]
    subprocess.run(
        [compiler, *flags, f"-I{drivers}/include/mingw", SOURCES / "portblock.c", f"-L{drivers}/build", *links,
         "-o", target],
        check=True,
    )  # fmt: skip
    return target


def test_a_driver_without_the_control_interface_is_run_by_its_own_scenarios(portblock: Path, tmp_path: Path) -> None:
    """What needs no control interface passes, what needs it is skipped with that reason."""
    scenarios = tmp_path / "test_portblock.py"
    shutil.copy(SOURCES / "scenarios.py", scenarios)

    done = run_scenarios(tmp_path / "out", "--driver", portblock, scenarios, seconds=1100)

    assert sorted((r["outcome"], r["message"]) for r in done.results) == [  # machines end theirs in any order
        ("PASS", ""),
        ("PASS", ""),
        ("PASS", ""),
        ("SKIP", "portblock.sys has no control interface, which the scenario needs"),
    ]
    assert done.exit_code == 0
