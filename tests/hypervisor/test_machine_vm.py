"""A real machine through the real libvirt: a guest of a hundred bytes that counts timer ticks."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import libvirt
import pytest

from harness.config import load_profile
from harness.errors import HostError, MachineError, MachineLost, UsageError
from harness.hypervisor import Condition, NicSpec, Way, connect, leftovers, open_machine
from harness.hypervisor.qemu_process import find_processes
from harness.ownership import temporary_folder
from harness.process import find_tool
from harness.waiting import Deadline, wait_for

sys.path.insert(0, str(Path(__file__).parent))
from boot_sector import make_image, ticks

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module", autouse=True)
def _libvirt():
    if find_tool("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed")
    try:
        connect().close()
    except HostError as error:
        pytest.skip(error.message)


@pytest.fixture
def cache(monkeypatch):
    """A cache of this test's own, where the user that QEMU runs as can read it."""
    with temporary_folder("test", beside=Path("/var/tmp"), passable=True) as folder:
        monkeypatch.setenv("WFP_HIL_CACHE", str(folder))
        yield folder


@pytest.fixture
def profile(tmp_path):
    text = load_profile("reference").path.read_text()
    path = tmp_path / "guest.toml"
    text = re.sub(r"memory_mib = \d+", "memory_mib = 32", text)
    path.write_text(re.sub(r"ready_seconds = \d+", "ready_seconds = 30", text))
    return load_profile(path)


@pytest.fixture
def ticking(cache, profile, tmp_path):
    image = make_image(cache)
    with open_machine(profile, image, run_dir=tmp_path / "run", nics=[]) as machine:
        machine.start(Deadline(60))
        yield machine
    assert not (cache / "state" / machine.name).exists()


def next_tick(machine) -> int:
    mark = machine.serial.size()
    machine.wait_for_serial("\n", Deadline(20), since=mark)
    machine.wait_for_serial("\n", Deadline(20), since=mark + 5)
    return ticks(machine.serial.text(mark))[-1]


def first_tick(machine, mark: int, below: int) -> int:
    """The first tick that the serial log has after `mark` and that is below this one: the guest goes on from its past.

    A host that looks late sees later ticks behind it; what it looks for stays in the log.
    """

    def look() -> int | None:
        return next((tick for tick in ticks(machine.serial.text(mark)) if tick < below), None)

    return wait_for(look, Deadline(20), f"a tick below {below}")


def test_a_revert_in_place_takes_the_guest_back_in_time(ticking):
    saved = next_tick(ticking)
    assert ticking.save_snapshot("warm") is Way.IN_PLACE
    ports = (ticking.winrm_port, ticking.ssh_port)
    reached = wait_for(
        lambda: at if (at := next_tick(ticking)) > saved + 20 else None, Deadline(20), "twenty more ticks"
    )
    mark = ticking.serial.size()

    assert ticking.revert("warm").way is Way.IN_PLACE

    assert saved <= first_tick(ticking, mark, below=reached)
    assert (ticking.winrm_port, ticking.ssh_port) == ports
    assert ticking.is_alive()


def test_management_ports_are_bound_on_loopback(ticking):
    for port in (ticking.winrm_port, ticking.ssh_port):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert ticking.winrm_port != ticking.ssh_port


def test_the_command_line_is_the_wanted_one(ticking):
    pid = next(pid for pid, name in find_processes() if name == ticking.name)
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")

    if ticking.accelerator.kind == "tcg":
        assert words[words.index("-accel") + 1] == "tcg"
        assert words[words.index("-cpu") + 1] == "max,smap=off,erms=off,fsrm=off"
    assert any(word.startswith("user,id=mgmt,restrict=on,") for word in words)


def test_a_paused_machine_runs_again_after_a_revert(ticking):
    ticking.save_snapshot("warm")
    ticking.pause()

    ticking.revert("warm")

    next_tick(ticking)


def test_a_reset_is_told_from_a_death_and_repaired(ticking):
    ticking.save_snapshot("warm")
    lost = threading.Event()
    ticking.on_lost(lambda error: lost.set())

    ticking.monitor().order("system_reset")
    assert lost.wait(20)
    assert ticking.condition is Condition.REBOOTED
    with pytest.raises(MachineLost, match="rebooted by itself"):
        ticking.wait_for_serial("never written", Deadline(20))

    assert ticking.revert("warm").way is Way.IN_PLACE
    assert ticking.condition is Condition.RUNNING
    next_tick(ticking)


def test_a_panicking_guest_is_told_from_a_reboot_and_repaired(ticking):
    ticking.save_snapshot("warm")
    lost = threading.Event()
    ticking.on_lost(lambda error: lost.set())

    ticking.monitor().hmp("o /b 0x505 1")  # what a guest's kernel writes to the pvpanic device when it crashes
    assert lost.wait(20)
    assert ticking.condition is Condition.PANICKED

    assert ticking.revert("warm").way is Way.IN_PLACE
    next_tick(ticking)
    ticking.check()


def test_a_guest_that_panicked_can_be_resumed_to_write_its_dump(ticking):
    lost = threading.Event()
    ticking.on_lost(lambda error: lost.set())

    ticking.monitor().hmp("o /b 0x505 1")
    assert lost.wait(20)
    ticking.resume()

    mark = ticking.serial.size()
    wait_for(lambda: True if ticks(ticking.serial.text(mark)) else None, Deadline(20), "a tick after the panic")
    assert ticking.condition is Condition.PANICKED


def test_a_guest_that_writes_its_dump_itself_is_not_stopped(ticking):
    lost = threading.Event()
    ticking.on_lost(lambda error: lost.set())

    ticking.monitor().hmp("o /b 0x505 2")  # what virtio-win's pvpanic driver writes while Windows dumps
    assert lost.wait(20)

    with pytest.raises(MachineLost, match="reported a crash of its kernel, and writes its dump"):
        ticking.check()
    mark = ticking.serial.size()
    wait_for(lambda: True if ticks(ticking.serial.text(mark)) else None, Deadline(20), "a tick after the report")


def test_a_new_boot_id_is_a_reboot(ticking):
    ticking.observe_boot_id("first")
    ticking.observe_boot_id("first")
    with pytest.raises(MachineLost, match="its boot id was first and is second"):
        ticking.observe_boot_id("second")


def test_a_killed_qemu_is_lost_at_once_and_its_snapshot_reloaded(ticking):
    saved = next_tick(ticking)
    ticking.save_snapshot("warm")
    lost = threading.Event()
    ticking.on_lost(lambda error: lost.set())
    pid = next(pid for pid, name in find_processes() if name == ticking.name)

    os.kill(pid, signal.SIGKILL)
    assert lost.wait(20)
    with pytest.raises(MachineLost, match="is gone: QEMU ended unexpectedly"):
        ticking.check()

    mark = ticking.serial.size()
    assert ticking.revert("warm").way is Way.RELOAD
    assert saved <= first_tick(ticking, mark, below=saved + 40)
    ticking.check()


def test_without_savevm_the_memory_is_restored_from_a_file(ticking, monkeypatch):
    def refuse(self, command: str) -> None:
        raise MachineError(f"QEMU refused '{command}': no.")

    with monkeypatch.context() as patch:
        patch.setattr("harness.hypervisor.monitor.Monitor.order", refuse)
        assert ticking.save_snapshot("warm") is Way.RESTORE
    saved = next_tick(ticking)
    reached = wait_for(
        lambda: at if (at := next_tick(ticking)) > saved + 20 else None, Deadline(20), "twenty more ticks"
    )
    mark = ticking.serial.size()

    assert ticking.revert("warm").way is Way.RESTORE

    first_tick(ticking, mark, below=reached)
    socket.create_connection(("127.0.0.1", ticking.winrm_port), timeout=5).close()
    ticking.check()


def test_a_test_nic_connects_to_the_link(cache, profile, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        nics = [NicSpec(model="rtl8139", link_port=listener.getsockname()[1])]
        with open_machine(profile, make_image(cache), run_dir=tmp_path / "run", nics=nics) as machine:
            machine.power_on()
            listener.accept()[0].close()


def test_a_port_that_is_taken_is_a_usage_error(cache, profile, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        management = profile.management.model_copy(update={"winrm_host_port": port})
        profile = profile.model_copy(update={"management": management})
        with (
            open_machine(profile, make_image(cache), run_dir=tmp_path / "run", nics=[]) as machine,
            pytest.raises(UsageError, match="a host port for management is taken"),
        ):
            machine.power_on()


def test_a_killed_harness_leaves_nothing_that_clean_does_not_find(cache, profile, tmp_path):
    make_image(cache)
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from boot_sector import TickingImage
from harness.config import load_profile
from harness.hypervisor import open_machine
from harness.waiting import Deadline
image = TickingImage(Path({str(cache)!r}) / "ticking.qcow2")
with open_machine(load_profile({str(profile.path)!r}), image, run_dir=Path({str(tmp_path)!r}), nics=[]) as machine:
    machine.start(Deadline(60))
    print(machine.name, flush=True)
    sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    name = child.stdout.readline().strip()
    connection = connect()
    assert name not in {leftover.name for leftover in leftovers.find(connection)}

    child.kill()
    child.communicate()
    leftovers.clean()

    with pytest.raises(libvirt.libvirtError):
        connection.lookupByName(name)
    connection.close()
    assert not (cache / "state" / name).exists()
    assert name not in {domain for _, domain in find_processes()}


def test_a_later_machine_goes_on_from_what_an_earlier_one_kept_and_boots_where_that_is_damaged(
    cache, profile, tmp_path
):
    image = make_image(cache)
    with open_machine(profile, image, run_dir=tmp_path / "first", nics=[]) as machine:
        assert not machine.start_booted()
        machine.start(Deadline(60))
        wait_for(lambda: True if next_tick(machine) > 20 else None, Deadline(30), "twenty ticks")
        machine.keep_booted()
        kept = next_tick(machine)  # it ticks on
        assert ticks(machine.serial.text(0))[0] == 1

    with open_machine(profile, image, run_dir=tmp_path / "second", nics=[]) as machine:
        assert machine.start_booted()
        assert next_tick(machine) > 20
        assert 20 < ticks(machine.serial.text(0))[0] <= kept  # not one tick of a boot comes before
        assert machine.winrm_port

    (state,) = (cache / "booted").iterdir()
    with state.open("r+b") as file:
        file.seek(65536)
        file.write(bytes(state.stat().st_size - 65536))
    with open_machine(profile, image, run_dir=tmp_path / "third", nics=[]) as machine:
        assert not machine.start_booted()
        assert not state.exists()
        machine.start(Deadline(60))
        next_tick(machine)
        assert ticks(machine.serial.text(0))[0] == 1
