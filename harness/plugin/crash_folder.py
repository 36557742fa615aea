"""What is kept of a crash in the scenario's folder: crash.json, the dumps, the screen, the memory where it is wanted.

From the outside in: first what can be had of the stopped machine, then what the guest itself wrote; what the dump knows
better (the code, where a panic device could not tell it; the driver's last events) goes into the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.driver.crash import Crash, CrashSeen, Namer
from harness.driver.kernel_dump import KernelDump, read_driver_data, read_dump
from harness.driver.last_events import EVENTS_TAG, decode_events
from harness.errors import HarnessError
from harness.expect.frames import frame_record
from harness.hypervisor.console import Console
from harness.steps import note
from harness.trace import Trace
from harness.witness import Witness

EVENTS_KEPT, FRAMES_KEPT = 100, 50
_UNTOLD = 0


class StoppedMachine(Protocol):
    """What can be had of a machine whose guest has crashed."""

    @property
    def lost_at(self) -> float | None: ...  # noqa: D102
    def screenshot(self, path: Path) -> None: ...  # noqa: D102
    def console(self) -> Console: ...  # noqa: D102


class CrashedScene(Protocol):
    """What was recorded of the scenario in which it happened."""

    trace: Trace
    witness: Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashRecord:
    """All parts of one crash; `recognised_seconds` is from the fault to the event on this host, if both are known.

    `function` and line are of the place of the crash, empty where there is no debug information of its module.
    """

    seen: CrashSeen
    recognised_seconds: float | None
    dumps: tuple[Path, ...] = ()
    heads: tuple[KernelDump, ...] = ()
    host_dump: Path | None = None
    screen: Path | None = None
    function: str = ""
    events: int = 0
    frames: int = 0
    missing: tuple[str, ...] = field(default=())

    @property
    def crash(self) -> Crash:
        """Code, parameters, place and stack."""
        return self.seen.crash


def collect_crash(
    seen: CrashSeen,
    scene: CrashedScene,
    folder: Path,
    *,
    machine: StoppedMachine,
    fetch: Callable[[Path, list[Crash]], Sequence[Path]],
    name: Namer,
    memory: str | None = None,
    has_screen: bool = False,
) -> CrashRecord:
    """Write everything into the folder; what cannot be had is a note. `memory`: 'elf' or 'windows', a host's dump."""
    notes: list[str] = []
    screen = _try(folder / "screen.png", machine.screenshot, "the screen", notes) if has_screen else None
    host_dump = None
    if memory is not None:
        windows = memory == "windows"
        place = folder / ("host-memory.dmp" if windows else "host-memory.elf")
        host_dump = _try(
            place, lambda path: machine.console().dump_memory(path, windows=windows), "the host's dump", notes
        )
    told: list[Crash] = []
    dumps = tuple(fetch(folder, told))
    heads = []
    for path in dumps:
        try:
            heads.append(read_dump(path))
        except HarnessError as error:
            notes.append(error.message)
        _take_events(path, scene.trace, notes)
    crash = seen.crash
    for other in (*(head.crash for head in heads if _is_of(head, crash)), *told):
        crash = other.completed_by(crash) if crash.code == _UNTOLD else crash.completed_by(other)
    if crash is not seen.crash:
        seen = CrashSeen(crash, name=name, hint=seen.hint)
    fault = scene.trace.to_host(crash.time) if crash.time is not None else None
    late = machine.lost_at - fault if fault is not None and machine.lost_at is not None else None
    events = scene.trace.events[-EVENTS_KEPT:]
    frames = scene.witness.frames()[-FRAMES_KEPT:]
    record = crash.as_record(name) | {
        "recognised_seconds": round(late, 4) if late is not None else None,
        "dumps": [head.as_record() for head in heads],
        "files": [path.name for path in (*dumps, screen, host_dump) if path is not None],
        "serial": "serial.log",
        "notes": notes,
        "events": [str(event) for event in events],
        "frames": [frame_record(frame).text for frame in frames],
    }
    (folder / "crash.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for text in notes:
        note(text)
    return CrashRecord(
        seen=seen,
        recognised_seconds=late,
        dumps=dumps,
        heads=tuple(heads),
        host_dump=host_dump,
        screen=screen,
        function=str(record["function"]),
        events=len(events),
        frames=len(frames),
        missing=tuple(notes),
    )


def _is_of(head: KernelDump, crash: Crash) -> bool:
    """Whether a dump is of this crash and not of an earlier one that was left lying about."""
    return crash.code in (_UNTOLD, head.code)


def _take_events(dump: Path, trace: Trace, notes: list[str]) -> None:
    """The events that the driver recorded and nobody had read; its own crash data has them."""
    data = read_driver_data(dump, EVENTS_TAG)
    if data is None:
        return
    try:
        trace.take([record for record in decode_events(data) if int(record["seq"]) > trace.last_seq])
    except HarnessError as error:
        notes.append(f"The driver's events in '{dump.name}' cannot be read: {error.message}")


def _try(path: Path, write: Callable[[Path], object], what: str, notes: list[str]) -> Path | None:
    try:
        write(path)
    except (HarnessError, OSError) as error:
        notes.append(f"There is no {what.removeprefix('the ')}: {error}")
        return None
    return path
