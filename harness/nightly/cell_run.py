"""One cell while it runs: a `wfp-hil run` in a process of its own, so that one that dies takes no other with it."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import process
from harness.errors import HarnessError
from harness.nightly.cells import Cell
from harness.waiting import Deadline

LOG = "run.log"
_CLEAR_UP_SECONDS = 90.0  # what a run that is asked to end has for taking its machines away
_LOOK_SECONDS = 1.0
_LOST = 3


class CellRun:
    """Starts at once, in a thread; `done` is called in that thread when it has ended."""

    def __init__(
        self, cell: Cell, folder: Path, argv: Sequence[str], *, seconds: float, done: Callable[[CellRun], None]
    ) -> None:
        self.cell = cell
        self.folder = folder
        self.exit_code: int | None = None
        """None while it runs, and when it was interrupted."""
        self.reason = ""
        self.progress = Progress(folder / "results.jsonl")
        self._argv = argv
        self._seconds = seconds
        self._done = done
        self._lock = threading.Lock()  # guards the process
        self._process: process.Running | None = None
        self._interrupted = threading.Event()
        self._thread = threading.Thread(target=self._run, name=cell.id)
        self._thread.start()

    def interrupt(self) -> None:
        """Have it take its machines away and end; comes back at once."""
        with self._lock:
            self._interrupted.set()
            if self._process is not None:
                self._process.send_signal(signal.SIGINT)

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._supervise()
        except (HarnessError, OSError) as error:
            self.exit_code, self.reason = _LOST, str(error)
        finally:
            self._done(self)

    def _supervise(self) -> None:
        self.folder.mkdir(parents=True)
        with (
            (self.folder / LOG).open("wb") as log,
            process.start(self._argv, stdout=log.fileno(), stderr=log.fileno()) as running,
        ):
            with self._lock:
                self._process = running
                if self._interrupted.is_set():
                    running.send_signal(signal.SIGINT)
            code = self._wait(running)
            with self._lock:
                self._process = None
        if self.reason or (self._interrupted.is_set() and code not in (0, 1)):
            return  # one that had come to its end already has
        if code < 0:
            self.exit_code = _LOST
            self.reason = f"Its run was ended by signal {-code} ({signal.Signals(-code).name})."
        else:
            self.exit_code = code
            self.reason = "" if code in (0, 1) else last_error(self.folder / LOG)

    def _wait(self, running: process.Running) -> int:
        """The exit code; of one that was interrupted or took too long after it had its time to clear up."""
        deadline = Deadline(self._seconds)
        while not self._interrupted.is_set():
            code = process.exit_code_within(running, min(_LOOK_SECONDS, deadline.remaining()))
            if code is not None:
                return code
            if deadline.expired:
                self.exit_code = _LOST
                self.reason = f"It did not end within {self._seconds / 60:g} minutes (run.minutes) and was stopped."
                running.send_signal(signal.SIGINT)
                break
        code = process.exit_code_within(running, _CLEAR_UP_SECONDS)
        return _LOST if code is None else code


@contextmanager
def cells_hear_interrupts() -> Iterator[None]:
    """A block in which what is started hears of an interrupt, though this process was started to ignore it.

    A shell has what it starts in the background ignore Ctrl-C, and to ignore is inherited; a handler is not.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Progress:
    """How far a run is, read from its results.jsonl as it grows."""

    def __init__(self, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.running: list[str] = []
        self.has_guest = False
        self._path = path
        self._at = 0
        self._last: dict[str, str] = {}

    def refresh(self) -> None:
        """Read on; what is not there yet, or not whole yet, comes next time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                self._take(json.loads(line))

    @property
    def done(self) -> int:
        """How many scenarios have a result."""
        return sum(self.counts.values())

    def _take(self, record: dict[str, object]) -> None:
        scenario = str(record.get("scenario"))
        if record["record"] == "session":
            self.has_guest = True
        elif record["record"] == "start":
            self.running.append(scenario)
        elif record["record"] == "result":
            with suppress(ValueError):
                self.running.remove(scenario)
            if scenario in self._last:  # a second attempt takes the place of the first
                self.counts[self._last[scenario]] -= 1
            self._last[scenario] = str(record["outcome"])
            self.counts[self._last[scenario]] += 1


def last_error(log: Path) -> str:
    """The sentence with which a run ended, and its hint, where it said one."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace")[-20000:].splitlines()
    except OSError:
        return ""
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].startswith("error: "):
            hint = lines[at + 1].removeprefix("hint: ") if lines[at + 1 : at + 2] and "hint: " in lines[at + 1] else ""
            return lines[at].removeprefix("error: ") + (f" Hint: {hint}" if hint else "")
    return next((line.strip() for line in reversed(lines) if line.strip()), "It said nothing.")[:500]
