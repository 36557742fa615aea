"""What is kept of a crash, from a machine and dumps that are made here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.driver.contract import Frame
from harness.driver.crash import Crash, CrashSeen
from harness.driver.last_events import EVENTS_TAG
from harness.errors import MachineError
from harness.plugin.crash_folder import EVENTS_KEPT, FRAMES_KEPT, collect_crash
from harness.trace import Trace
from tests.driver.test_crash import events
from tests.driver.test_kernel_dump import blobs, head

PARAMETERS = (0x10, 2, 1, 0xFFFFF80012345678)
SEEN = CrashSeen(
    Crash(code=0xD1, parameters=PARAMETERS, stack=(Frame("x.sys", 0x46),), time=100.0, source="serial port")
)


class StoppedMachine:
    lost_at: float | None = 1007.5

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.refuses = False

    def screenshot(self, path: Path) -> None:
        if self.refuses:
            raise MachineError("There is no screen to be had.")
        path.write_bytes(b"P6")

    def console(self) -> StoppedMachine:
        return self

    def dump_memory(self, path: Path, *, windows: bool = False) -> None:
        if self.refuses:
            raise MachineError("The disk is full.")
        self.asked.append((path.name, windows))
        path.write_bytes(b"ELF")


@pytest.fixture
def machine() -> StoppedMachine:
    return StoppedMachine()


@pytest.fixture
def collect(machine: StoppedMachine, tmp_path: Path) -> Any:
    """Collect with dumps of these contents; `told` is what the event log says."""
    trace = Trace(now=lambda: 1000.0)
    scene = SimpleNamespace(trace=trace, witness=SimpleNamespace(frames=list))

    def collect(*dumps: bytes, seen: CrashSeen = SEEN, told: tuple[Crash, ...] = (), **options: Any) -> Any:
        def fetch(folder: Path, said: list[Crash]) -> list[Path]:
            said += told
            paths = []
            for number, content in enumerate(dumps):
                paths.append(folder / f"{number}.dmp")
                paths[-1].write_bytes(content)
            return paths

        record = collect_crash(
            seen,
            scene,
            tmp_path,
            machine=machine,
            fetch=fetch,
            name=lambda frame, behind: f"f at f.c:{behind}",
            **options,
        )
        return record, json.loads((tmp_path / "crash.json").read_text()), trace

    return collect


def test_all_parts_are_in_the_record(collect: Any) -> None:
    record, written, trace = collect(bytes(head()) + blobs((EVENTS_TAG, events(3))), memory="elf", has_screen=True)

    assert (written["code"], written["name"]) == (0xD1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL")
    assert written["parameters"] == ["0x10", "0x2", "0x1", "0xfffff80012345678"]
    assert (written["module"], written["offset"], written["function"]) == ("x.sys", 0x46, "f at f.c:70")
    assert written["stack"] == ["x.sys+0x46 f at f.c:70"]
    assert written["dumps"][0]["kind"] == "bitmap-kernel"
    assert written["files"] == ["0.dmp", "screen.png", "host-memory.elf"]
    assert written["notes"] == []
    assert record.missing == ()
    assert [event.seq for event in trace.events] == [7, 7, 7]
    assert record.events == len(written["events"]) == 3


def test_the_time_from_the_fault_to_the_event_is_told_by_the_clock_of_the_drivers_events(collect: Any) -> None:
    _, written, trace = collect()
    assert written["recognised_seconds"] is None

    trace.take([{"seq": 1, "kind": 1, "time_100ns": 95 * 10**7}])
    trace.tie(1002.0)

    assert collect()[1]["recognised_seconds"] == pytest.approx(1007.5 - (1002.0 + 5.0))


def test_a_code_that_no_device_could_tell_comes_from_the_dump_or_else_from_the_event_log(collect: Any) -> None:
    untold = CrashSeen(Crash(code=0, source="panic device"))

    record, written, _ = collect(bytes(head()), seen=untold)
    assert (record.crash.code, record.crash.parameters, written["code"]) == (0xD1, PARAMETERS, 0xD1)
    assert "bugcheck 0xd1 (0x10, 0x2" in record.seen.message

    logged = Crash(code=0x7E, parameters=(1, 2, 3, 4), source="event log")
    record, written, _ = collect(seen=untold, told=(logged,))
    assert (record.crash.code, written["source"]) == (0x7E, "event log")


def test_the_dump_of_an_earlier_crash_changes_nothing(collect: Any) -> None:
    record, written, _ = collect(bytes(head(code=(0x38, "<I", 0x7E))))

    assert record.crash == SEEN.crash
    assert written["dumps"][0]["code"] == 0x7E


def test_what_cannot_be_had_is_told_and_the_rest_is_kept(collect: Any, machine: StoppedMachine) -> None:
    machine.refuses = True

    record, written, _ = collect(b"nothing", memory="windows", has_screen=True)

    assert written["files"] == ["0.dmp"]
    assert [text.partition(":")[0] for text in record.missing] == [
        "There is no screen", "There is no host's dump", "'0.dmp' is no kernel dump",
    ]  # fmt: skip
    assert written["code"] == 0xD1


def test_a_guest_of_windows_has_its_memory_written_for_windows_debuggers(collect: Any, machine: StoppedMachine) -> None:
    collect(memory="windows")

    assert machine.asked == [("host-memory.dmp", True)]


def test_events_that_cannot_be_read_are_told(collect: Any) -> None:
    record, _, trace = collect(bytes(head()) + blobs((EVENTS_TAG, b"short")))

    assert record.missing == ("The driver's events in '0.dmp' cannot be read: It has 5 bytes: 24 are wanted at least.",)
    assert trace.events == ()


def test_the_last_of_many_are_kept(collect: Any) -> None:
    _, _, trace = collect()
    trace.take([{"seq": number, "kind": 1, "time_100ns": number} for number in range(1, 151)])

    written = collect()[1]

    assert len(written["events"]) == EVENTS_KEPT
    assert written["events"][-1].startswith("event 150 ")
    assert len(written["frames"]) <= FRAMES_KEPT
