"""Drivers that crash on purpose, in a real guest: each is told as a crash of its kind, at once and with its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running import run_scenarios

ROOT = Path(__file__).parents[1]
SOURCES = Path(__file__).parent / "crash"

SCENARIOS = '''
"""Each ends in a crash of the guest, but for the last."""

import os
from pathlib import Path

import pytest

from harness.driver.interface import CrashPlace

NAME = "198.51.100.5"


@pytest.mark.parametrize("place", [CrashPlace.NOW, CrashPlace.DISPATCH, CrashPlace.BUGCHECK])
def test_at_once(driver, place):
    driver.lab.crash(place)


def test_classify(driver, probe, stations, fence):
    stations.add(NAME).tcp_listen(80)
    driver.permit("tcp", layer="ALE_AUTH_CONNECT", remote=f"{NAME}:80")
    driver.lab.crash(CrashPlace.CLASSIFY)
    probe.tcp_connect(f"{NAME}:80", seconds=3)
    fence()


def test_worker(driver, probe, stations, fence):
    stations.add(NAME).udp(53)
    driver.reinject("udp", layer="OUTBOUND_TRANSPORT", remote=f"{NAME}:53")
    driver.lab.crash(CrashPlace.WORKER)
    probe.udp_open().send_to(f"{NAME}:53", b"x")
    fence()


def test_unload(driver, service):
    driver.lab.crash(CrashPlace.UNLOAD)
    service.stop()


def _start(guest, name):
    path = rf"C:\\wfp-hil\\{name}.sys"
    guest.upload(Path(os.environ["CRASH_DRIVERS"]) / f"{name}.sys", path)
    guest.run(f'sc.exe create {name} binPath= "{path}" type= kernel start= demand group= NetworkProvider')
    return guest.run(f"sc.exe start {name}")


def test_entry(guest, driver):
    _start(guest, "entry")
    driver.drain()


def test_level(guest):
    done = _start(guest, "level")
    raise AssertionError(f"sc start ended with {done.exit_code}: {done.stdout}")
'''

CODES = {
    "test_at_once[1]": "0x7e (0xc0000005,",
    "test_at_once[2]": "0xd1 (0x10, 0x2, 0x1,",
    "test_at_once[3]": "0xe2 (0x1, 0x2, 0x3, 0x4)",
    "test_classify": "0x7e (0xc0000005,",
    "test_worker": "0x7e (0xc0000005,",
    "test_unload": "0x7e (0xc0000005,",
    "test_entry": "0x7e (0xc0000005,",
}

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What a run of those scenarios wrote down, by their names."""
    folder = tmp_path_factory.mktemp("crash")
    compiler = shutil.which("x86_64-w64-mingw32-gcc")
    if compiler is None:
        pytest.skip("no mingw-w64 here")
    subprocess.run(["make", "-s", "-C", ROOT / "drivers", "build/libfwpkclnt.a"], check=True)
    for name in ("entry", "level"):
        command = [compiler, "-I/usr/share/mingw-w64/include/ddk", "-O2", "-nostdlib", "-shared"]
        command += [
            "-Wl,--subsystem,native",
            "-Wl,--entry,DriverEntry",
            SOURCES / f"{name}.c",
            "-o",
            folder / f"{name}.sys",
        ]
        subprocess.run([*command, f"-L{ROOT / 'drivers' / 'build'}", "-lfwpkclnt", "-lntoskrnl"], check=True)
    scenarios = folder / "test_crashes.py"
    scenarios.write_text(SCENARIOS)
    return run_scenarios(folder / "out", scenarios, seconds=1400, CRASH_DRIVERS=str(folder)).by_name


@pytest.mark.parametrize("name", CODES)
def test_a_crash_is_told_as_a_crash_with_its_code_and_place(results: dict[str, dict[str, object]], name: str) -> None:
    assert results[name]["outcome"] == "CRASH", results[name]
    assert f"bugcheck {CODES[name]}" in str(results[name]["message"])
    module = "entry.sys" if name == "test_entry" else "wfpcallout.sys"
    assert f" in {module}+0x" in str(results[name]["message"])


def test_the_driver_sees_the_levels_and_what_it_may_not_do_there_is_told(results: dict[str, dict[str, object]]) -> None:
    said = str(results["test_level"]["message"])
    assert "sc start ended with 0:" in said, said
    assert "K-IRQL KeWaitForSingleObject: it would wait at IRQL 2" in said
    assert "W305 FwpsInjectionHandleCreate0: it was called at IRQL 2" in said
    assert "UNIMPLEMENTED: a driver called FwpsvSwitchEventsSubscribe0" in said
