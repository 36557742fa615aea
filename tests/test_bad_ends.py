"""Runs that end badly, real in every part: interrupted, killed, with drivers that fail; nothing is left of any."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.hypervisor import connect, leftovers
from harness.process import run, start
from harness.report import read_results
from harness.waiting import Deadline, wait_for
from tests.running import ROOT, WFP_HIL, results_of, run_scenarios

RUN_SECONDS = 500

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

# Run as scenarios, so that one boot serves them all.
INSIDE = '''
"""What goes wrong in a guest that runs."""

import json
import shutil
from pathlib import Path

import pytest

from harness.driver import deploy, load_package
from harness.errors import AuthenticationFailed, DriverStartError
from harness.guest import open_guest
from harness.images import ensure
from harness.waiting import Deadline

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("already_exists", 0xC0220009, "STATUS_FWP_ALREADY_EXISTS"),
        ("unsuccessful", 0xC0000001, "STATUS_UNSUCCESSFUL"),
        ("no memory", 0xC000009A, "STATUS_INSUFFICIENT_RESOURCES"),
    ],
)
def test_the_status_of_a_driver_entry_is_named(guest, machine, name, status, said):
    """The error names the NTSTATUS that DriverEntry returned."""
    service = deploy(guest, load_package(HERE / f"{name}.sys"), serial_log=machine.serial_log)
    with pytest.raises(DriverStartError) as caught:
        service.start()
    assert caught.value.ntstatus == status
    assert f"DriverEntry returned {said} ({status:#010x})" in caught.value.message


def test_a_wrong_password_is_refused(machine, tmp_path):
    """The guest's WinRM says no, and the error says that it did."""
    secrets = shutil.copytree(ensure("reference").secrets, tmp_path / "secrets")
    login = json.loads((secrets / "winrm.json").read_text())
    (secrets / "winrm.json").write_text(json.dumps(login | {"password": "wrong"}))
    with pytest.raises(AuthenticationFailed, match="refused the password of user 'Administrator'") as caught:
        with open_guest(machine, secrets) as other:
            other.wait_until_ready(Deadline(240))
            other.run("cmd.exe /c ver")
    assert caught.value.hint
    assert caught.value.exit_code == 3
'''


def make_driver(path: Path, status: int) -> Path:
    """A driver whose DriverEntry returns this; not signed."""
    source = path.with_suffix(".c")
    source.write_text(f"int DriverEntry(void *a, void *b) {{ (void)a; (void)b; return (int){status:#x}u; }}\n")
    link = ["-nostdlib", "-shared", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry"]
    run(["x86_64-w64-mingw32-gcc", *link, source, "-o", path])
    return path


def nothing_is_left() -> None:
    connection = connect()
    try:
        assert leftovers.find(connection) == []
    finally:
        connection.close()


def run_until_one_passed(process: subprocess.Popen[bytes], out: Path) -> None:
    def one_result() -> bool | None:
        assert process.poll() is None, f"the run ended by itself with {process.returncode}"
        path = out / "results.jsonl"
        written = read_results(path) if path.is_file() else []  # it is being written: its last line may be a part
        return True if any(record["record"] == "result" for record in written) else None

    wait_for(one_result, Deadline(RUN_SECONDS), "the first result", interval=0.1)


@contextmanager
def started(folder: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run that goes on, its terminal in a file."""
    # Where this suite runs in the background of a shell, SIGINT is ignored, and so it would be in the run.
    words = ["env", "--default-signal=INT", WFP_HIL, "run", "--out", out, "scenarios/callout"]
    with (
        (folder / "terminal.txt").open("wb") as log,
        start(words, cwd=ROOT, stdout=log.fileno(), stderr=log.fileno()) as process,
    ):
        yield process


def test_an_interrupted_run_keeps_its_results_and_ends_its_machine(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(tmp_path, out) as process:
        run_until_one_passed(process, out)
        process.send_signal(signal.SIGINT)
        code = process.wait(240)
    text = (tmp_path / "terminal.txt").read_text()

    assert code == 130, text[-3000:]
    assert "Traceback" not in text, text[-3000:]
    assert {record["outcome"] for record in results_of(out)} == {"PASS"}
    assert (out / "junit.xml").is_file()
    nothing_is_left()


def test_after_a_killed_run_the_next_one_works_and_clears_up(tmp_path: Path) -> None:
    for name, status in (("already_exists", 0xC0220009), ("unsuccessful", 0xC0000001), ("no memory", 0xC000009A)):
        make_driver(tmp_path / f"{name}.sys", status)
    inside = tmp_path / "test_inside.py"
    inside.write_text(INSIDE)
    killed, out = tmp_path / "killed", tmp_path / "out"
    with started(tmp_path, killed) as process:
        run_until_one_passed(process, killed)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(240)

    done = run_scenarios(out, inside, seconds=RUN_SECONDS)

    assert done.exit_code == 0, done.text[-5000:]
    assert [record["outcome"] for record in done.results] == ["PASS"] * 4
    nothing_is_left()


def test_clean_takes_away_what_a_killed_run_left(tmp_path: Path) -> None:
    with started(tmp_path, tmp_path / "out") as process:
        wait_for(lambda: _mine(process.pid) or None, Deadline(240), "the machine's folder")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(240)

    done = run([WFP_HIL, "clean"], cwd=ROOT, deadline=Deadline(240))

    assert re.search(r"\d+ things? removed", done.stdout), done.stdout  # of as many machines as it had begun
    nothing_is_left()
    again = run([WFP_HIL, "clean"], cwd=ROOT, deadline=Deadline(240))
    assert again.stdout == "clean: nothing was left behind\n"


def test_a_driver_that_fails_to_start_ends_with_code_1_and_its_status(tmp_path: Path) -> None:
    driver = make_driver(tmp_path / "failing.sys", 0xC0220009)

    done = run_scenarios(tmp_path / "out", "--driver", driver, "scenarios/callout", seconds=RUN_SECONDS)

    assert done.exit_code == 1, done.text[-3000:]
    started = "The driver 'failing' did not start: DriverEntry returned STATUS_FWP_ALREADY_EXISTS (0xc0220009)"
    assert started in done.text
    assert "Traceback" not in done.text
    nothing_is_left()


def _mine(pid: int) -> list[str]:
    """The folders of a run's machines: each of several belongs to a worker, a child of the run."""
    folder = leftovers.state_root()
    records = (path for path in folder.glob("wfp-hil-*/owner.json"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    owners = [f'"pid": {number},' for number in (pid, *children)]
    return [path.parent.name for path in records if any(owner in path.read_text() for owner in owners)]
