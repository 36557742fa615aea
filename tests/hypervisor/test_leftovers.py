"""Cleaning up: what ended runs left goes, what live runs use stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from unittest.mock import Mock

import libvirt
import pytest

from harness.errors import HostError
from harness.hypervisor import leftovers, qemu_process
from harness.hypervisor.connection import connect
from harness.hypervisor.state import MachineState
from harness.ownership import OWNER_NAMESPACE, Owner, host_boot, temporary_folder
from harness.waiting import Deadline, wait_for
from tests.processes import is_running

DEAD = Owner(pid=1, started=-1, host_boot="an earlier boot")


@pytest.fixture
def connection():
    opened = connect("test:///default")
    yield opened
    for domain in opened.listAllDomains():
        if domain.name() != "test":
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                domain.undefine()
    opened.close()


def define(connection: libvirt.virConnect, name: str, owner: Owner | None) -> libvirt.virDomain:
    facts = "" if owner is None else " ".join(f"{key}='{value}'" for key, value in asdict(owner).items())
    metadata = "" if owner is None else f"<metadata><w:owner xmlns:w='{OWNER_NAMESPACE}' {facts}/></metadata>"
    return connection.defineXML(
        f"<domain type='test'><name>{name}</name>{metadata}<memory>1024</memory><os><type>hvm</type></os></domain>"
    )


def names(connection: libvirt.virConnect) -> set[str]:
    return {domain.name() for domain in connection.listAllDomains()}


def find(connection: libvirt.virConnect, folder: Path) -> list[leftovers.Leftover]:
    return leftovers.find(connection, root=folder / "state", temporary=folder)


def test_domains_of_ended_runs_go_and_all_others_stay(connection, tmp_path):
    define(connection, "wfp-hil-1-dead", DEAD).create()
    define(connection, "wfp-hil-2-unowned", None)
    define(connection, "wfp-hil-3-live", Owner.this_process()).create()
    define(connection, "somebody-elses", DEAD)

    for leftover in find(connection, tmp_path):
        if leftover.kind == "domain":
            leftover.remove()

    assert names(connection) == {"test", "wfp-hil-3-live", "somebody-elses"}


def test_state_of_ended_runs_goes_and_that_of_this_one_stays(connection, tmp_path):
    root = tmp_path / "state"
    mine = MachineState.create("wfp-hil-1-mine", "test:///default", tmp_path, root=root)
    half_made = root / "wfp-hil-2-half-made"
    half_made.mkdir()  # by an older version
    begun = root / f".half-{Owner.this_process().mark}-wfp-hil-4-begun"
    begun.mkdir()
    (root / ".half-1.1.00000000-wfp-hil-5-killed").mkdir()
    (half_made / "disk.qcow2").touch()
    (root / "accelerator.json").touch()

    for leftover in find(connection, tmp_path):
        if leftover.kind == "state":
            leftover.remove()

    assert sorted(path.name for path in root.iterdir()) == [begun.name, "accelerator.json", "wfp-hil-1-mine"]
    assert mine.record() == (Owner.this_process(), "test:///default")


def test_an_orphaned_qemu_is_ended_and_a_program_that_only_looks_like_it_is_not(connection, tmp_path, ended):
    """What no ended run has marked is left alone, even under the name of a machine: it may be another cache's."""
    fake = tmp_path / "qemu-system-fake"
    fake.symlink_to(sys.executable)
    code = "import sys; print(flush=True); sys.stdin.read()"
    argv = [
        [str(fake), "-c", code, "-name", f"guest={name},debug-threads=on"]
        for name in ("wfp-hil-9-orphan", "wfp-hil-8-other")
    ]
    orphan, other = (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)
        for words, variables in zip(argv, ({"WFP_HIL_OWNER": ended.mark}, {}), strict=True)
    )
    try:
        orphan.stdout.readline(), other.stdout.readline()
        found = [leftover for leftover in find(connection, tmp_path) if leftover.kind == "qemu"]
        ours = [leftover for leftover in found if f"(pid {orphan.pid})" in leftover.name]
        assert [leftover.name for leftover in ours] == [f"wfp-hil-9-orphan (pid {orphan.pid})"]
        assert not any(f"(pid {other.pid})" in leftover.name for leftover in found)

        ours[0].remove()

        assert orphan.wait(timeout=30) == -9
        assert other.poll() is None
    finally:
        for process in (orphan, other):
            process.kill()
            process.communicate()


def test_what_is_gone_when_its_turn_comes_is_no_trouble(connection, tmp_path, ended, monkeypatch):
    """It ended by itself, or another run clears up at the same time."""
    (tmp_path / f"wfp-hil-probe-{ended.mark}-x").mkdir()
    (folder,) = (leftover for leftover in find(connection, tmp_path) if leftover.kind == "temporary")
    folder.remove()
    folder.remove()

    looks = iter(["wfp-hil-9-orphan", None])
    monkeypatch.setattr(qemu_process, "domain_of", lambda pid: next(looks))
    monkeypatch.setattr(os, "kill", Mock(side_effect=ProcessLookupError))
    qemu_process.end_process(ended.pid, "wfp-hil-9-orphan")


@pytest.fixture
def ended():
    """A process that has ended, as an owner."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_text()
    owner = Owner(pid=child.pid, started=int(stat.rsplit(")", 1)[1].split()[19]), host_boot=host_boot())
    assert owner.is_alive()
    child.communicate(b"\n")
    return owner


def test_temporary_folders_of_ended_owners_go_and_no_others(connection, tmp_path, ended):
    (tmp_path / f"wfp-hil-probe-{ended.mark}-x").mkdir()
    (tmp_path / f"wfp-hil-probe-{ended.mark}-x" / "exit.img").touch()
    (tmp_path / f"wfp-hil-probe-{Owner.this_process().mark}-y").mkdir()
    (tmp_path / f"wfp-hil-build-{Owner.this_process().mark}-y").mkdir()
    (tmp_path / "wfp-hil-of-a-user").mkdir()
    (tmp_path / "unrelated").mkdir()

    for leftover in find(connection, tmp_path):
        if leftover.kind == "temporary":
            leftover.remove()

    assert len(list(tmp_path.iterdir())) == 4
    assert not list(tmp_path.glob(f"*{ended.mark}*"))


def test_a_temporary_folder_takes_away_what_killed_owners_left_beside_it(tmp_path, ended):
    (tmp_path / f"wfp-hil-signing-{ended.mark}-x").mkdir()

    with temporary_folder("signing", beside=tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("passable", "mode"), [(False, 0o700), (True, 0o711)])
def test_nobody_else_reads_a_temporary_folder_and_others_pass_it_where_they_are_to(tmp_path, passable, mode):
    with temporary_folder("test", beside=tmp_path, passable=passable) as folder:
        assert folder.stat().st_mode & 0o777 == mode


START_AND_DIE = """
import os, signal, sys
from harness.process import start
with start([sys.executable, "-c", "import subprocess, sys; subprocess.run(['sleep', '600'])"], stdout=-3) as child:
    with start(["sleep", "601"], stdout=-3, lasting=True) as daemon:
        print(child.pid, daemon.pid, flush=True)
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_programs_of_a_killed_harness_and_their_children_go_and_daemons_stay(connection, tmp_path):
    harness = subprocess.Popen(
        [sys.executable, "-c", START_AND_DIE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child, daemon = (int(word) for word in harness.stdout.readline().split())
    grandchild = wait_for(lambda: _child_of(child), Deadline(20), "the program's own child")
    try:

        def seen() -> set[str]:
            return {found.name for found in find(connection, tmp_path) if found.kind == "process"}

        assert not {name for name in seen() if f"(pid {child})" in name}, "its harness is alive"
        harness.communicate("")
        marked = [found for found in find(connection, tmp_path) if found.kind == "process"]
        numbers = {str(pid): found for found in marked for pid in (child, grandchild) if f"(pid {pid})" in found.name}
        assert len(numbers) == 2
        assert not any(f"(pid {daemon})" in found.name for found in marked)

        for found in numbers.values():
            found.remove()

        wait_for(
            lambda: True if not (is_running(child) or is_running(grandchild)) else None, Deadline(20), "their ends"
        )
        assert is_running(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


def _child_of(pid: int) -> int | None:
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(words[0]) if words else None


def test_a_process_that_got_the_number_of_an_ended_one_is_not_its_owner():
    me = Owner.this_process()

    assert me.is_alive()
    assert not Owner(pid=me.pid, started=me.started + 1, host_boot=me.host_boot).is_alive()
    assert not Owner(pid=me.pid, started=me.started, host_boot="an earlier boot").is_alive()


def test_an_ended_process_is_dead_even_before_it_is_reaped():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    stat = Path(f"/proc/{child.pid}/stat").read_text()
    zombie = Owner(
        pid=child.pid, started=int(stat.rsplit(")", 1)[1].split()[19]), host_boot=Owner.this_process().host_boot
    )

    assert not zombie.is_alive()
    child.wait()


def test_two_machines_of_one_name_are_refused(tmp_path):
    MachineState.create("wfp-hil-1-x", "test:///default", tmp_path, root=tmp_path / "state")

    with pytest.raises(HostError, match="There is a machine 'wfp-hil-1-x' already"):
        MachineState.create("wfp-hil-1-x", "test:///default", tmp_path, root=tmp_path / "state")
