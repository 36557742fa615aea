"""Cleaning up: what ended runs left goes, what live runs use stays."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import libvirt
import pytest

from harness.errors import HostError
from harness.hypervisor import leftovers
from harness.hypervisor.connection import connect
from harness.hypervisor.ownership import OWNER_NAMESPACE, Owner
from harness.hypervisor.state import MachineState

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
    half_made.mkdir()
    (half_made / "disk.qcow2").touch()
    (root / "accelerator.json").touch()

    for leftover in find(connection, tmp_path):
        if leftover.kind == "state":
            leftover.remove()

    assert sorted(path.name for path in root.iterdir()) == ["accelerator.json", "wfp-hil-1-mine"]
    assert mine.record() == (Owner.this_process(), "test:///default")


def test_an_orphaned_qemu_is_ended_and_a_program_that_only_looks_like_it_is_not(connection, tmp_path):
    fake = tmp_path / "qemu-system-fake"
    fake.symlink_to(sys.executable)
    code = "import sys; print(flush=True); sys.stdin.read()"
    argv = [
        [str(fake), "-c", code, "-name", f"guest={name},debug-threads=on"] for name in ("wfp-hil-9-orphan", "other")
    ]
    orphan, other = (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for words in argv
    )
    try:
        orphan.stdout.readline(), other.stdout.readline()
        found = [leftover for leftover in find(connection, tmp_path) if leftover.kind == "qemu"]
        ours = [leftover for leftover in found if str(orphan.pid) in leftover.name]
        assert [leftover.name for leftover in ours] == [f"wfp-hil-9-orphan (pid {orphan.pid})"]
        assert not any(str(other.pid) in leftover.name for leftover in found)

        ours[0].remove()

        assert orphan.wait(timeout=10) == -9
        assert other.poll() is None
    finally:
        for process in (orphan, other):
            process.kill()
            process.communicate()


def test_the_probes_temporary_folder_goes(connection, tmp_path):
    (tmp_path / "wfp-hil-probe-x").mkdir()
    (tmp_path / "wfp-hil-probe-x" / "exit.img").touch()
    (tmp_path / "unrelated").mkdir()

    for leftover in find(connection, tmp_path):
        if leftover.kind == "temporary":
            leftover.remove()

    assert [path.name for path in tmp_path.iterdir()] == ["unrelated"]


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
