"""The ladder of reverts, on a machine that does as told."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import steps
from harness.errors import MachineError, UsageError
from harness.hypervisor.monitor import Monitor
from harness.hypervisor.snapshots import Snapshots, Way


class FakeMachine:
    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk.qcow2"
        self.disk.write_text("as saved")
        self.disks = (self.disk,)
        self.done: list[str] = []
        self.broken: set[str] = set()

    def monitor(self) -> Monitor:
        return Monitor(self._hmp)

    def _hmp(self, command: str) -> str:
        self.done.append(command)
        word = command.split(maxsplit=1)[0]
        return f"Error: {word} is broken\r\n" if word in self.broken else ""

    def _do(self, word: str) -> None:
        self.done.append(word)
        if word in self.broken:
            raise MachineError(f"{word} is broken.")

    def freeze_to(self, path: Path) -> None:
        self._do("kill" if path == Path() else "freeze")

    def thaw_from(self, path: Path) -> None:
        self._do("thaw")

    def start_process_anew(self) -> None:
        self._do("process")
        self.broken.discard("loadvm")

    def boot_anew(self) -> None:
        self._do("boot")

    def ensure_running(self) -> None:
        self._do("run")


@pytest.fixture
def machine(tmp_path):
    return FakeMachine(tmp_path)


@pytest.fixture
def snapshots(machine, tmp_path):
    return Snapshots(machine, tmp_path)


@pytest.fixture
def notes():
    seen: list[str] = []
    stop = steps.subscribe(lambda event: seen.append(event.title) if event.kind == "note" else None)
    yield seen
    stop()


def test_in_place_is_the_first_choice(machine, snapshots, notes):
    assert snapshots.save("warm") is Way.IN_PLACE
    assert snapshots.revert("warm").way is Way.IN_PLACE
    assert machine.done == ["savevm warm", "loadvm warm", "run"]
    assert notes == []


def test_where_savevm_is_refused_the_memory_goes_to_a_file(machine, snapshots, notes):
    machine.broken.add("savevm")

    assert snapshots.save("warm") is Way.RESTORE
    machine.disk.write_text("changed since")
    assert snapshots.revert("warm").way is Way.RESTORE

    assert machine.done == ["savevm warm", "freeze", "thaw", "kill", "thaw"]
    assert machine.disk.read_text() == "as saved"
    assert notes == [
        (
            "No snapshot in place, each revert restores the saved memory: "
            "QEMU refused 'savevm warm': Error: savevm is broken"
        )
    ]


def test_where_nothing_can_be_saved_each_revert_boots(machine, snapshots, notes):
    machine.broken |= {"savevm", "freeze"}

    assert snapshots.save("warm") is Way.COLD_BOOT
    assert snapshots.revert("warm").way is Way.COLD_BOOT
    assert machine.done == ["savevm warm", "freeze", "boot", "boot"]
    assert notes[0].startswith("No snapshot is possible, each revert boots anew: ")


def test_a_dead_process_is_replaced_and_the_snapshot_reloaded(machine, snapshots, notes):
    snapshots.save("warm")
    machine.broken.add("loadvm")

    assert snapshots.revert("warm").way is Way.RELOAD
    assert len(notes) == 1
    assert snapshots.revert("warm").way is Way.IN_PLACE


def test_the_last_way_is_a_boot_and_other_snapshots_know_that_they_are_gone(machine, snapshots):
    snapshots.save("warm")
    snapshots.save("other")
    machine.broken |= {"loadvm", "process"}

    assert snapshots.revert("warm").way is Way.COLD_BOOT
    machine.broken.clear()
    assert snapshots.revert("other").way is Way.COLD_BOOT


def test_a_machine_that_cannot_even_boot_says_so(machine, snapshots):
    snapshots.save("warm")
    machine.broken |= {"loadvm", "process", "boot"}

    with pytest.raises(MachineError, match="boot is broken"):
        snapshots.revert("warm")


def test_an_unknown_snapshot_names_those_there_are(snapshots):
    snapshots.save("warm")

    with pytest.raises(UsageError, match=r"^There is no snapshot 'cold'; saved are warm\.$"):
        snapshots.revert("cold")


@pytest.mark.parametrize("name", ["", "two words", "a;quit", "../x"])
def test_a_name_that_the_monitor_would_misread_is_refused(snapshots, machine, name):
    with pytest.raises(UsageError):
        snapshots.save(name)
    assert machine.done == []
