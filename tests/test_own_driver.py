"""A driver that knows nothing of this project, tried on a real guest by scenarios of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.process import run
from harness.waiting import Deadline

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
    scenarios, out = tmp_path / "test_portblock.py", tmp_path / "out"
    shutil.copy(SOURCES / "scenarios.py", scenarios)

    done = run(
        [Path(sys.executable).parent / "wfp-hil", "run", "--driver", portblock, "--out", out, scenarios],
        cwd=ROOT,
        deadline=Deadline(1100),
        check=False,
    )

    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    results = [record for record in records if record["record"] == "result"]
    assert sorted((r["outcome"], r["message"]) for r in results) == [  # machines end theirs in any order
        ("PASS", ""),
        ("PASS", ""),
        ("PASS", ""),
        ("SKIP", "portblock.sys has no control interface, which the scenario needs"),
    ]
    assert done.exit_code == 0
