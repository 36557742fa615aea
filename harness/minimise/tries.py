"""Tries at captures: each voted on, none made twice, kept in a journal so that a search that was ended goes on.

`tries.jsonl`: a first line with what the attempts depend on (driver, image, options), then a line for each attempt:
the capture by its hash, and the verdict. The hash covers bytes, lengths and pauses of the packets, not their numbers.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from harness.capture import Capture
from harness.errors import HostError, UsageError
from harness.minimise.criterion import Criterion
from harness.minimise.verdict import Verdict
from harness.minimise.voting import Voting
from harness.report import Outcome

Runner = Callable[[Capture], Verdict]
"""One attempt at a capture on a guest that was put back before; it raises nothing that only the guest could mean."""

_FORMAT = 1
_LOST_MOST = 3  # attempts at one capture that may be lost before it is given up
_LOST_IN_A_ROW = 4  # captures given up one after the other: it is the host that fails


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was found out about one capture; `known` are attempts that an earlier search had made."""

    capture: Capture
    fails: bool
    attempts: int
    known: int
    seconds: float


class Journal:
    """The attempts that were made, by capture; a line is on the disk before it counts."""

    def __init__(self, path: Path, inputs: Mapping[str, object]) -> None:
        self.path = path
        self._verdicts: dict[str, list[Verdict]] = {}
        self._lock = threading.Lock()  # one line at a time
        first = {"format": _FORMAT, **inputs}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            self._load(lines, first)
            if lines and not path.read_bytes().endswith(b"\n"):
                with path.open("a", encoding="utf-8") as file:
                    file.write("\n")  # the last line was cut off by a kill
        except OSError as error:
            raise HostError(
                f"The journal '{path}' cannot be written: {error.strerror}.", hint="Give another folder with --out."
            ) from error
        if not lines:
            self._write(first)

    def _load(self, lines: Sequence[str], first: Mapping[str, object]) -> None:
        if not lines:
            return
        head = _object(lines[0])
        wrong = next((key for key, value in first.items() if head is None or head.get(key) != value), None)
        if wrong is not None:
            seen = "nothing" if head is None else repr(head.get(wrong))
            raise UsageError(
                f"'{self.path}' is of another search: its '{wrong}' is {seen}, that of this one {first[wrong]!r}.",
                hint="Give another folder with --out.",
            )
        for line in lines[1:]:
            record = _object(line)
            if record is None or not isinstance(record.get("capture"), str):
                continue
            try:
                verdict = Verdict.from_record(record.get("verdict") or {})
            except ValueError:
                continue
            if verdict.outcome is not Outcome.LOST:
                self._verdicts.setdefault(record["capture"], []).append(verdict)

    def known(self, key: str) -> tuple[Verdict, ...]:
        """What was seen of a capture so far."""
        return tuple(self._verdicts.get(key, ()))

    def add(self, key: str, capture: Capture, verdict: Verdict) -> None:
        """One more attempt; one that was lost is written down, and will be made again."""
        self._write({"capture": key, "packets": len(capture), "verdict": verdict.as_record()})
        if verdict.outcome is not Outcome.LOST:
            self._verdicts.setdefault(key, []).append(verdict)

    def _write(self, record: Mapping[str, object]) -> None:
        try:
            with self._lock, self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise HostError(f"The journal '{self.path}' cannot be written: {error.strerror}.") from error


class Tries:
    """Says which captures still fail; as many at a time as there are runners."""

    def __init__(
        self,
        runners: Sequence[Runner],
        criterion: Criterion,
        journal: Journal,
        *,
        voting: Voting | None = None,
        tell: Callable[[Told], None] | None = None,
    ) -> None:
        self.criterion = criterion
        self.voting = voting or Voting(1.0)
        self.made = self.spared = self.attempts = 0
        self._runners = runners
        self._free: SimpleQueue[Runner] = SimpleQueue()
        for runner in runners:
            self._free.put(runner)
        self._journal = journal
        self.tell = tell
        self._given_up = 0

    def first_failing(self, captures: Iterable[Capture]) -> int | None:
        """The first of these that still fails, counted from 0; None when none does."""
        numbered = enumerate(captures)
        if len(self._runners) == 1:
            return next((number for number, capture in numbered if self.fails(capture)), None)
        with self._side_by_side() as pool:
            while window := list(islice(numbered, len(self._runners))):
                futures: list[tuple[int, Future[bool]]] = [
                    (number, pool.submit(self.fails, capture)) for number, capture in window
                ]
                found = [number for number, future in futures if future.result()]
                if found:
                    return found[0]
        return None

    def fails(self, capture: Capture) -> bool:
        """Whether one capture still fails, by as many attempts as the voting wants."""
        key, began = key_of(capture), time.monotonic()
        known = self._journal.known(key)
        hits = sum(map(self.criterion.holds, known))
        misses, attempts, lost = len(known) - hits, 0, 0
        while (decided := self.voting.decide(hits, misses)) is None:
            verdict = self.attempt(capture)
            attempts += 1
            if verdict.outcome is Outcome.LOST:
                lost += 1
                if lost == _LOST_MOST:
                    self._give_up(verdict)
                    decided = False
                    break
            elif self.criterion.holds(verdict):
                hits += 1
            else:
                misses += 1
        if lost < _LOST_MOST:
            self._given_up = 0
        self.made += 1
        self.spared += attempts == 0
        if self.tell is not None:
            seconds = time.monotonic() - began
            self.tell(Told(capture=capture, fails=decided, attempts=attempts, known=len(known), seconds=seconds))
        return decided

    def verdicts(self, capture: Capture, wanted: int) -> tuple[Verdict, ...]:
        """So many verdicts on one capture, those first that are known; raises HostError when it is lost each time."""
        lost = 0
        while len(known := self._journal.known(key_of(capture))) < wanted:
            verdict = self.attempt(capture)
            lost += verdict.outcome is Outcome.LOST
            if lost > wanted + _LOST_MOST:
                raise HostError(f"The capture was lost {lost} times, the last time so: {verdict.message}")
        return known

    def attempt(self, capture: Capture) -> Verdict:
        """One attempt, whatever is known of the capture."""
        runner = self._free.get()
        try:
            verdict = runner(capture)
        finally:
            self._free.put(runner)
        self.attempts += 1
        self._journal.add(key_of(capture), capture, verdict)
        return verdict

    def _give_up(self, last: Verdict) -> None:
        self._given_up += 1
        if self._given_up >= _LOST_IN_A_ROW:
            raise HostError(
                f"{self._given_up} captures one after the other were lost {_LOST_MOST} times each: {last.message}",
                hint="What was found so far is kept, and the same command goes on from there.",
            )

    @contextmanager
    def _side_by_side(self) -> Iterator[ThreadPoolExecutor]:
        pool = ThreadPoolExecutor(len(self._runners), thread_name_prefix="try")
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def key_of(capture: Capture) -> str:
    """A hash of what an attempt at a capture sees of it."""
    digest = hashlib.sha256()
    start = capture.packets[0].time if capture.packets else 0
    for packet in capture.packets:
        digest.update(f"{packet.time - start} {packet.length} {packet.outgoing} {len(packet.data)}\n".encode())
        digest.update(packet.data)
    return digest.hexdigest()[:32]


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
