"""results.jsonl: one JSON object a line, written before anything else is told and flushed at once.

Records: `session` (who runs what on which guest), `start` (a scenario begins: what is started and never ends is
how a killed run shows itself), `result` (one attempt at one scenario), `end` (exit code and counts).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HostError
from harness.report.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at one scenario; `seconds` by phase, `message` the whole text of what went wrong.

    `rules` and `requirements` are what the scenario is marked with. `known` is the reason why a failure is known: then
    it does not count.

    `seed` is what its random choices were drawn from: those with the same one can be compared. Empty for none.

    `complaints` are what the guest said on its serial port of what it does not model, `breaches` the rules that the
    driver broke (`rule`, `call`, `text`, `count`, `stack`, `on_purpose`), both also where the scenario passed.

    `departures` are where the replay of a capture was not the capture (`text`, `numbers` of packets, `count`).
    """

    scenario: str
    outcome: Outcome
    title: str = ""
    attempt: int = 1
    guest: str = ""
    rules: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    message: str = ""
    details: str = ""
    known: str = ""
    seed: str = ""
    complaints: tuple[str, ...] = ()
    breaches: tuple[dict[str, object], ...] = ()
    departures: tuple[dict[str, object], ...] = ()
    folder: str = ""
    started: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def broken_rules(self, *, on_purpose: bool) -> list[str]:
        """The rules that the driver broke, each with the call; those that the scenario is marked with only if asked."""
        return [f"{each['rule']} {each['call']}" for each in self.breaches if on_purpose or not each["on_purpose"]]

    @property
    def total_seconds(self) -> float:
        """All phases together."""
        return sum(self.seconds.values())


def last_attempts(attempts: Iterable[Attempt]) -> list[Attempt]:
    """What each scenario came to in the end: of those that were tried again the last attempt alone."""
    return list({attempt.scenario: attempt for attempt in attempts}.values())


class ResultsWriter:
    """Appends records to a results.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempts: list[Attempt] = []
        self.broken: HostError | None = None
        """Why not all is written: the disk was full in the middle, say; what came behind is not in the file."""
        self._lock = threading.Lock()  # one line at a time
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise HostError(
                f"Results cannot be written to '{path}': {error.strerror}.", hint="Give another folder with --out."
            ) from error

    def session(self, **facts: object) -> None:
        """Tell the run's circumstances: guest, image, driver, NIC."""
        self._write({"record": "session", **facts})

    def start(self, scenario: str, attempt: int = 1) -> None:
        """A scenario begins."""
        self._write({"record": "start", "scenario": scenario, "attempt": attempt})

    def result(self, attempt: Attempt) -> None:
        """A scenario has ended."""
        self._write({"record": "result", **asdict(attempt)})
        self.attempts.append(attempt)

    def end(self, code: int) -> None:
        """The run has ended."""
        last = last_attempts(self.attempts)
        counts = {str(key): count for key, count in Counter(attempt.outcome for attempt in last).items()}
        again = {"tried_again": len(self.attempts) - len(last)} if len(last) < len(self.attempts) else {}
        self._write({"record": "end", "exit_code": code, "counts": counts, **again})

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what is still held back was lost before
            self._file.close()

    def _write(self, record: dict[str, object]) -> None:
        with self._lock:
            if self.broken is not None:
                return  # behind half a line nothing could be read
            try:
                self._file.write(json.dumps(record, default=str) + "\n")
                self._file.flush()
            except OSError as error:
                self.broken = HostError(
                    f"Results could no longer be written to '{self.path}': {error.strerror}.",
                    hint="What is missing there is in the terminal alone. Give a folder with more room with --out.",
                )


def read_results(path: Path) -> list[dict[str, Any]]:
    """All whole records of a results.jsonl; a last line that was cut off by a kill is left out."""
    records: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
