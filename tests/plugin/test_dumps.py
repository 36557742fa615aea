"""Dumps after a crash, with a machine and a guest that do as told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from harness import steps
from harness.errors import MachineError, TransportError
from harness.guest import CommandResult
from harness.hypervisor import Condition
from harness.plugin import dumps
from harness.plugin.dumps import crash_on_purpose, fetch_after_crash, fetch_dumps
from harness.waiting import Deadline


class FakeMachine:
    """Boots again once it was let go on."""

    def __init__(self) -> None:
        self.resets = 3
        self.broken = False

    def ensure_running(self) -> None:
        if self.broken:
            raise MachineError("It cannot be resumed.")
        self.resets += 1


class FakeGuest:
    def __init__(self) -> None:
        self.answers = True

    def wait_until_ready(self, deadline: Deadline) -> None:
        if not self.answers:
            raise TransportError("WinRM does not answer.")

    def run(self, command: str, *, deadline: Deadline, skip_cmd_shell: bool = False) -> CommandResult:
        there = {"C:\\Windows\\MEMORY.DMP": "MEMORY.DMP\r\n", "C:\\Windows\\Minidump\\*.dmp": "a.dmp\r\nb.dmp\r\n"}
        listed = next((names for pattern, names in there.items() if f'"{pattern}"' in command), "")
        return CommandResult(command=command, exit_code=0 if listed else 1, stdout=listed, stderr="", duration=0)

    def download(self, remote: str, local: Path) -> str:
        local.write_text(remote)
        return ""


@pytest.fixture
def notes():
    seen: list[str] = []
    stop = steps.subscribe(lambda event: seen.append(event.title) if event.kind == "note" else None)
    yield seen
    stop()


@pytest.fixture
def fetch(tmp_path):
    machine, guest = FakeMachine(), FakeGuest()

    @contextmanager
    def reach():
        yield guest

    return machine, guest, lambda seconds=5.0: fetch_dumps(machine, reach, tmp_path, Deadline(seconds))


def test_all_dumps_are_fetched_after_the_reboot(fetch, tmp_path):
    assert fetch[2]() == [tmp_path / "MEMORY.DMP", tmp_path / "a.dmp", tmp_path / "b.dmp"]
    assert (tmp_path / "a.dmp").read_text() == "C:\\Windows\\Minidump\\a.dmp"


def test_a_guest_that_never_boots_again_is_a_note(fetch, notes):
    fetch[0].ensure_running = lambda: None

    assert fetch[2](0.05) == []
    assert "Waited 0.1 s for the guest to boot after its dump" in notes[-1]


@pytest.mark.parametrize("broken", [0, 1])
def test_what_cannot_be_had_is_a_note_and_no_error(fetch, notes, broken):
    fetch[0].broken, fetch[1].answers = broken == 0, broken == 0

    assert fetch[2]() == []
    assert notes[-1].startswith("No dump of the crash could be fetched: ")


def test_a_hung_windows_is_told_to_crash_and_waited_for():
    class Hung:
        condition = Condition.RUNNING

        def inject_nmi(self) -> None:
            type(self).condition = Condition.PANICKED

    hung = Hung()

    crash_on_purpose(hung)

    assert hung.condition is Condition.PANICKED


def test_one_that_takes_no_nmi_is_given_up(monkeypatch):
    class Deaf:
        condition = Condition.RUNNING
        asked = 0

        def inject_nmi(self) -> None:
            self.asked += 1

    monkeypatch.setattr("harness.plugin.dumps._NMI_SECONDS", 0.05)
    deaf = Deaf()

    crash_on_purpose(deaf)

    assert deaf.asked == 1


class Panicking(FakeMachine):
    """Its panic device tells after some looks."""

    def __init__(self, conditions: Iterator[Condition]) -> None:
        super().__init__()
        self._conditions = conditions

    @property
    def condition(self) -> Condition:
        return next(self._conditions)


@contextmanager
def reach() -> Iterator[Any]:
    guest: Any = FakeGuest()
    guest.abandon = lambda: None
    yield guest


def test_a_dump_comes_behind_the_record_of_the_crash(tmp_path: Path) -> None:
    """The record on the serial port is seen first; the panic device tells when the guest has written its dump."""
    machine = Panicking(chain(repeat(Condition.RUNNING, 5), repeat(Condition.PANICKED)))

    assert [path.name for path in fetch_after_crash(machine, reach, None, tmp_path, [])] == ["MEMORY.DMP"]


@pytest.mark.parametrize("condition", [Condition.RUNNING, Condition.GONE])
def test_without_a_word_of_the_device_there_is_no_dump(
    tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch, condition: Condition
) -> None:
    monkeypatch.setattr(dumps, "_TOLD_SECONDS", 0.05)

    assert fetch_after_crash(Panicking(repeat(condition)), reach, None, tmp_path, []) == []
    assert any("panic device did not tell of it" in each for each in notes)
