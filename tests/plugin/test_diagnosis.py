"""How a crash is found: by a record, a panic device, or words on the serial port."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.plugin.diagnosis as module
from harness.hypervisor import Condition
from harness.hypervisor.serial import SerialLog
from harness.hypervisor.watch import Bugcheck
from harness.plugin.diagnosis import find_crash, find_ended_wine, names_of
from tests.driver.test_crash import record

LINE = f"wfp-hil: bugcheck: {record()}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Any:
    log = SerialLog(tmp_path / "serial.log")
    log.path.write_text("")
    return SimpleNamespace(serial=log, bugcheck=None, condition=Condition.RUNNING)


def say(machine: Any, text: str) -> None:
    with machine.serial.path.open("a") as file:
        file.write(text)


def test_a_sound_guest_has_no_crash(machine: Any) -> None:
    say(machine, "wfp-hil: ready\n")

    assert find_crash(machine, 0, windows=False) is None


def test_a_record_behind_the_mark_is_a_crash(machine: Any) -> None:
    say(machine, LINE)
    assert find_crash(machine, machine.serial.size(), windows=False) is None

    seen = find_crash(machine, 0, windows=False, name=lambda frame, behind: "f at f.c:1")

    assert seen is not None
    assert (seen.code, seen.crash.source) == (0xD1, "serial port")
    assert "in x.sys+0x465e f at f.c:1." in seen.message


def test_what_a_panic_device_tells_is_a_crash(machine: Any) -> None:
    machine.bugcheck = Bugcheck(code=0x139, parameters=(3, 4, 5, 6))
    machine.condition = Condition.PANICKED

    seen = find_crash(machine, 0, windows=True)

    assert seen is not None
    assert (seen.code, seen.parameters, seen.crash.source) == (0x139, (3, 4, 5, 6), "panic device")


def test_a_device_that_tells_no_code_is_a_crash_of_windows_whose_code_comes_later(machine: Any) -> None:
    machine.condition = Condition.PANICKED

    seen = find_crash(machine, 0, windows=True)

    assert seen is not None
    assert (seen.code, seen.crash.source) == (0, "panic device")


def test_a_record_may_come_behind_the_event(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.condition = Condition.PANICKED
    looks: list[int] = []

    def text(since: int) -> str:
        looks.append(since)
        return "" if len(looks) < 3 else LINE

    monkeypatch.setattr(machine.serial, "text", text)

    seen = find_crash(machine, 0, windows=False)

    assert seen is not None
    assert seen.code == 0xD1


def test_a_panic_of_linux_itself_is_no_crash_of_the_driver(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECORD_SECONDS", 0.01)
    machine.condition = Condition.PANICKED
    say(machine, "Kernel panic - not syncing\n")

    assert find_crash(machine, 0, windows=False) is None


def test_words_without_a_record_will_do(machine: Any) -> None:
    say(machine, "*** Bugcheck code: 0x000000D1 (0x10,0x2,0x1,0xFFFFF800)\n")

    seen = find_crash(machine, 0, windows=True)

    assert seen is not None
    assert (seen.code, seen.parameters) == (0xD1, (0x10, 2, 1, 0xFFFFF800))


def test_names_come_from_the_driver_under_test_and_our_own(tmp_path: Path) -> None:
    names = names_of(tmp_path / "theirs.sys")

    assert names._find("theirs.sys") == tmp_path / "theirs.sys"
    assert names._find("../theirs.sys") is None
    assert names._find("unknown.sys") is None


def test_the_end_of_wine_itself_is_a_lost_machine(machine: Any) -> None:
    """What its server says last; what only speaks of it, or was said in an attempt before, is none."""
    say(machine, "wfp-hil: model: wineserver64: server/sock.c:7: f: Assertion `x' failed.\nwineserver64: starting\n")
    assert find_ended_wine(machine, 0) is None
    words = "wineserver64: server/sock.c:1122: complete_async_poll: Assertion `a == b' failed."
    say(machine, f"{words}\r\n")
    assert find_ended_wine(machine, machine.serial.size()) is None

    lost = find_ended_wine(machine, 0)

    assert lost is not None
    assert words in lost.message
