"""A scenario's folder: frames.pcapng, events.jsonl, sockets.jsonl, steps.jsonl, its part of serial.log, the timeline.

Of one that failed wfp-state.xml as well.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.guest.socket_log import SocketCall
from harness.steps import StepEvent
from harness.trace import Entry, Trace, render_timeline

_UNFIT = re.compile(r"[^A-Za-z0-9._=-]+")


def slug(scenario: str) -> str:
    """A folder name for a scenario: 'scenarios/flow/test_x.py::test_y[tcp]' becomes 'flow.test_x.test_y.tcp'."""
    words = scenario.removeprefix("scenarios/").replace(".py::", ".").replace("::", ".")
    return _UNFIT.sub(".", words).strip(".")[:150]


class ScenarioFolder:
    """Where one attempt at one scenario keeps what was seen."""

    def __init__(self, root: Path, scenario: str, attempt: int = 1) -> None:
        name = slug(scenario) + (f".{attempt}" if attempt > 1 else "")
        self.path = root / "scenarios" / name
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def frames(self) -> Path:
        """The capture."""
        return self.path / "frames.pcapng"

    @property
    def far_frames(self) -> Path:
        """The capture of the second link, of a scenario that uses it."""
        return self.path / "far-frames.pcapng"

    @property
    def timeline(self) -> Path:
        """Frames, events, calls of the guest's sockets and steps in one order."""
        return self.path / "timeline.txt"

    @property
    def wfp_state(self) -> Path:
        """What the guest's filter engine held when the scenario failed."""
        return self.path / "wfp-state.xml"

    def write_events(self, trace: Trace) -> None:
        """Keep the driver's events."""
        lines = (json.dumps(event.as_record(), default=str) + "\n" for event in trace.events)
        (self.path / "events.jsonl").write_text("".join(lines), encoding="utf-8")

    def write_sockets(self, calls: Iterable[SocketCall]) -> None:
        """Keep what the guest's sockets were asked and answered."""
        lines = (json.dumps(call.as_record()) + "\n" for call in calls)
        (self.path / "sockets.jsonl").write_text("".join(lines), encoding="utf-8")

    def write_steps(self, steps: Iterable[StepEvent]) -> None:
        """Keep what the harness did."""
        lines = (
            json.dumps(
                {
                    "kind": step.kind, "title": step.title, "time": step.time, "depth": step.depth,
                    "duration": step.duration, "error": str(step.error) if step.error else None, **step.fields,
                },
                default=str,
            ) + "\n"
            for step in steps
        )  # fmt: skip
        (self.path / "steps.jsonl").write_text("".join(lines), encoding="utf-8")

    def write_serial(self, log: Path, start: int) -> None:
        """Keep what the serial console said since byte `start` of its log."""
        try:
            with log.open("rb") as file:
                file.seek(start)
                with (self.path / "serial.log").open("wb") as part:
                    shutil.copyfileobj(file, part)
        except OSError as error:
            (self.path / "serial.log").write_text(f"(the log could not be read: {error})\n", encoding="utf-8")

    def write_timeline(self, entries: Iterable[Entry]) -> None:
        """Keep the order of everything."""
        self.timeline.write_text(render_timeline(entries), encoding="utf-8")
