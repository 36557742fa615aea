"""A management program of user mode, built against the import library, in a real guest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running import run_scenarios

ROOT = Path(__file__).parents[1]
SOURCE = Path(__file__).parent / "management" / "manage.c"

SCENARIOS = r'''
"""What a program does to the engine from user mode, and what that does to traffic."""

import os
from pathlib import Path
from uuid import UUID

from harness.expect import expect

CALLOUT = UUID("7e570003-0001-0002-0300-000000000000")  # manage.c's callout_key
PROGRAM = r"C:\wfp-hil\manage.exe"
STATION = "198.51.100.5"
SERVER = f"{STATION}:80"


def _upload(guest):
    guest.upload(Path(os.environ["MANAGE_PROGRAM"]), PROGRAM)


def test_every_check_of_the_program_holds(guest):
    """Objects, errors, subscriptions and sessions are as documented for user mode."""
    _upload(guest)
    done = guest.run(PROGRAM)
    assert done.exit_code == 0, done.stdout


def test_a_filter_of_a_program_acts_on_traffic(guest, probe, stations, witness, fence):
    """A filter that a program of user mode adds blocks, and no longer once it deletes it."""
    _upload(guest)
    stations.add(STATION).tcp_listen(80)
    assert guest.run(f"{PROGRAM} block {STATION}").exit_code == 0
    blocked = probe.tcp_connect(SERVER)
    fence()
    expect(blocked).failed()
    expect(witness).none(dst=SERVER)

    assert guest.run(f"{PROGRAM} allow").exit_code == 0
    allowed = probe.tcp_connect(SERVER)
    fence()
    expect(allowed).connected()


def test_a_callout_that_a_program_adds_is_the_driver_s(driver, guest, probe, stations, trace, fence):
    """What the driver registers is asked as long as a program's callout and filter are there, and decides."""
    _upload(guest)
    stations.add(STATION).tcp_listen(80)
    driver.lab.callout_register(CALLOUT)
    assert guest.run(f"{PROGRAM} callout {STATION}").exit_code == 0
    asked = probe.tcp_connect(SERVER)
    driver.lab.callout_unregister(CALLOUT)
    blocked = probe.tcp_connect(SERVER)
    assert guest.run(f"{PROGRAM} allow").exit_code == 0
    allowed = probe.tcp_connect(SERVER)
    fence()

    expect(trace).one(kind="lab-classify")
    expect(asked).connected()
    expect(blocked).failed()
    expect(allowed).connected()
'''

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]


@pytest.mark.rule("W011", "W056", "W067")
def test_a_management_program_works_in_the_guest(tmp_path: Path) -> None:
    """The program's own checks hold, and what it adds acts on traffic."""
    compiler = shutil.which("x86_64-w64-mingw32-gcc")
    if compiler is None:
        pytest.skip("no mingw-w64 here")
    program, scenarios = tmp_path / "manage.exe", tmp_path / "test_manage.py"
    flags = ["-std=gnu11", "-D_WIN32_WINNT=0x0A00", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", program, SOURCE, "-lfwpuclnt", "-lws2_32"], check=True)
    scenarios.write_text(SCENARIOS)

    done = run_scenarios(tmp_path / "out", scenarios, seconds=1100, MANAGE_PROGRAM=os.fspath(program))

    assert [(record["outcome"], record["message"]) for record in done.results] == [("PASS", "")] * 3, done.text[-4000:]
