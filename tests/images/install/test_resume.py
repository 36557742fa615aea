"""An installation that was not finished: gone on with where that is possible, begun anew where it is not."""

from __future__ import annotations

import json

import pytest

from harness import steps
from harness.errors import ImageBuildError
from harness.hypervisor.firmware import tpm_folder
from harness.hypervisor.monitor import Monitor
from harness.images.cache import build_lock
from harness.images.install.resume import Unfinished, find_unfinished, remove_hopeless

URI = "qemu:///session"


class FakeMachine:
    """Takes orders of QEMU's monitor; refuses those that begin with a word in `broken`."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[str] = set()
        self.tpm_place = (URI, "uuid-1")

    def monitor(self) -> Monitor:
        return Monitor(self._hmp)

    def _hmp(self, command: str) -> str:
        self.done.append(command)
        return "Error: no" if command.split(maxsplit=1)[0] in self.broken else ""

    def start_process_anew(self) -> None:
        self.done.append("process")
        self.tpm_place = (URI, "uuid-2")

    def pause(self) -> None:
        self.done.append("pause")

    def is_alive(self) -> bool:
        return True

    def ensure_running(self) -> None:
        self.done.append("run")


def keep(unfinished: Unfinished, machine: FakeMachine, elapsed: float, *stages: str, force: bool = False) -> bool:
    return unfinished.checkpoint(machine, elapsed, catch_up=lambda: stages, force=force)


@pytest.fixture(autouse=True)
def _homes(tmp_path, monkeypatch):
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def notes():
    seen: list[str] = []
    stop = steps.subscribe(lambda event: seen.append(event.title) if event.kind == "note" else None)
    yield seen
    stop()


@pytest.fixture
def begun():
    made = Unfinished("windows-11")
    made.begin("inputs-1")
    return made


def test_what_was_kept_is_gone_on_with(begun):
    machine = FakeMachine()
    begun.reach(["setup-started"], 50.04)
    assert keep(begun, machine, 61.5, "setup-started")

    later = Unfinished("windows-11")
    assert later.load("inputs-1")
    assert (later.record.reached, later.record.elapsed) == (["setup-started"], 61.5)
    later.go_on(machine)

    assert machine.done == ["pause", "savevm at-61-1", "run", "process", "loadvm at-61-1", "run"]
    assert later.record.seconds == {"setup-started": 50.0}
    assert later.record.tpm == (URI, "uuid-2")
    assert json.loads((later.folder / "installation.json").read_text())["calls"] == 2


def test_the_tpm_of_the_machine_before_is_removed(begun):
    machine = FakeMachine()
    keep(begun, machine, 1)
    place = tpm_folder(URI, "uuid-1")
    place.mkdir(parents=True)

    begun.go_on(machine)

    assert not place.exists()


def test_a_checkpoint_is_made_now_and_then_and_the_one_before_is_dropped(begun):
    machine = FakeMachine()

    assert keep(begun, machine, 10)
    assert not keep(begun, machine, 60)
    assert keep(begun, machine, 60, force=True)
    assert keep(begun, machine, 500)

    told = [word for word in machine.done if word not in ("pause", "run")]
    assert told == ["savevm at-10-1", "savevm at-60-1", "delvm at-10-1", "savevm at-500-1", "delvm at-60-1"]


def test_a_stage_that_came_while_the_machine_was_being_kept_is_remembered(begun):
    machine = FakeMachine()

    def catch_up() -> list[str]:
        assert machine.done == ["pause", "savevm at-70-1"], "it is asked what came before it stood still"
        return ["setup-started", "specialize"]

    begun.reach(["setup-started"], 5)
    assert begun.checkpoint(machine, 70, catch_up=catch_up)

    later = Unfinished("windows-11")
    assert later.load("inputs-1")
    assert later.record.reached == ["setup-started", "specialize"]
    assert later.record.seconds == {"setup-started": 5, "specialize": 70}


def test_a_checkpoint_that_is_refused_leaves_the_one_before(begun, notes):
    machine = FakeMachine()
    keep(begun, machine, 10)
    machine.broken.add("savevm")

    assert not keep(begun, machine, 500)
    assert machine.done[-1] == "run"

    assert "cannot be gone on with from here" in notes[-1]
    later = Unfinished("windows-11")
    assert later.load("inputs-1")
    assert later.record.checkpoint == "at-10-1"


@pytest.mark.parametrize(
    ("spoil", "inputs", "said"),
    [
        (lambda it: keep(it, FakeMachine(), 1), "inputs-2", "was of other inputs"),
        (lambda it: (keep(it, FakeMachine(), 1), it.fail("It stood still.")), "inputs-1", "It stood still."),
        (lambda it: None, "inputs-1", "ended before anything of it could be kept"),
        (lambda it: (it.folder / "installation.json").write_text("{"), "inputs-1", None),
        (lambda it: (it.folder / "installation.json").write_text('{"later": 1}'), "inputs-1", None),
    ],
)
def test_what_cannot_be_gone_on_with_begins_anew_and_says_why(begun, notes, spoil, inputs, said):
    spoil(begun)
    notes.clear()

    assert not Unfinished("windows-11").load(inputs)

    assert (said is None and not notes) or said in notes[-1]


def test_beginning_anew_leaves_nothing_of_before(begun):
    keep(begun, FakeMachine(), 1)
    place = tpm_folder(URI, "uuid-1")
    place.mkdir(parents=True)
    (begun.folder / "disk.qcow2").touch()

    again = Unfinished("windows-11")
    again.begin("inputs-1")

    assert not place.exists()
    assert not (again.folder / "disk.qcow2").exists()
    assert again.record.checkpoint is None


def test_a_machine_that_does_not_load_is_an_error(begun):
    machine = FakeMachine()
    keep(begun, machine, 1)
    machine.broken.add("loadvm")

    with pytest.raises(ImageBuildError, match="cannot be gone on with: QEMU refused 'loadvm at-1-1'") as caught:
        begun.go_on(machine)
    assert caught.value.hint == "The same command begins anew."


def test_what_cannot_be_gone_on_with_is_removed_unless_somebody_is_at_it(begun):
    kept = Unfinished("windows-10")
    kept.begin("inputs")
    keep(kept, FakeMachine(), 1)
    assert [each.folder.name for each in find_unfinished()] == ["windows-10", "windows-11"]

    with build_lock("windows-11"):
        assert remove_hopeless() == []
    assert remove_hopeless() == [begun.folder]

    assert [each.folder.name for each in find_unfinished()] == ["windows-10"]
    kept.fail("It stood still.")
    assert remove_hopeless() == [kept.folder]
