"""The live view: what is booting, what runs, how long; one line for each scenario that has ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from harness.errors import HarnessError
from harness.printable import printable
from harness.report.outcome import Outcome
from harness.report.results import Attempt, last_attempts
from harness.steps import StepEvent

_COLOURS = {
    Outcome.PASS: "green",
    Outcome.FAIL: "red",
    Outcome.CRASH: "bold red",
    Outcome.HANG: "bold red",
    Outcome.LOST: "magenta",
    Outcome.SKIP: "yellow",
}

# "prepare guest" > "boot the guest": what a person waits for; deeper steps only move the spinner.
_SHOWN_DEPTH = 1

# The guest is prepared inside the set-up of the first scenario, and that takes longer than all the rest.
_PREPARATION = "prepare guest"


class LiveView:
    """Subscribes to steps; prints plain lines where the output is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._lock = threading.Lock()  # guards what the spinner says
        self._began = time.monotonic()
        self._what = "starting"
        self._since = self._began
        self._running: list[str] = []
        self._preparing: set[str] = set()  # machines, where there are several
        self._live: Live | None = None

    def start(self) -> None:
        """Show the moving line, where there is a terminal for it."""
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=8, transient=True)
            self._live.start()

    def stop(self) -> None:
        """Take the moving line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def step(self, event: StepEvent) -> None:
        """A step began or ended."""
        machine = str(event.fields.get("machine", ""))
        title = f"{machine}: {event.title}" if machine else event.title
        with self._lock:
            if event.kind == "start":
                self._what, self._since = title, time.monotonic()
            if event.depth == 0 and event.kind == "start":
                if event.title.startswith(_PREPARATION):
                    self._preparing.add(machine)
                else:
                    self._preparing.discard(machine)
            hidden = bool(self._running) and machine not in self._preparing
        if hidden or event.depth > _SHOWN_DEPTH:
            return
        if event.kind == "stop":
            self._say(f"{title}: {event.duration:.1f} s")
        elif event.kind == "error":
            self._say(f"{title}: FAILED after {event.duration:.1f} s")
        elif event.kind == "note":
            self._say(title)

    def begin(self, scenario: str) -> None:
        """A scenario begins; several may run at once, on a machine each."""
        with self._lock:
            self._running.append(scenario)
            self._what, self._since = scenario, time.monotonic()

    def result(self, attempt: Attempt) -> None:
        """A scenario has ended."""
        with self._lock:
            if attempt.scenario in self._running:
                self._running.remove(attempt.scenario)
            self._what, self._since = "between scenarios", time.monotonic()
        line = Text(f"{self._clock()}  ")
        line.append(f"{attempt.outcome:<5}", style=_COLOURS[attempt.outcome])
        line.append(f" {attempt.total_seconds:5.2f} s  {printable(attempt.title or attempt.scenario)}{_which(attempt)}")
        if attempt.outcome is not Outcome.PASS:
            line.append(f"\n           {attempt.scenario}\n           {printable(attempt.message)}")
            if attempt.seed:
                line.append(f"\n           seed: {attempt.seed}")
            if attempt.known:
                line.append(f"\n           known: {printable(attempt.known)}", style="yellow")
        elif unwanted := attempt.broken_rules(on_purpose=False):
            line.append("\n           the driver broke its contract: " + ", ".join(unwanted))
        self._console.print(line, soft_wrap=True)

    def summary(self, attempts: Sequence[Attempt], guest: str, out: str, error: HarnessError | None = None) -> None:
        """Counts, where everything is, and the error that ended the run, if one did."""
        last = last_attempts(attempts)
        counts = Counter(attempt.outcome for attempt in last)
        words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
        if again := len(attempts) - len(last):
            words += f", {again} of them in a second attempt on a fresh machine"
        known = sum(attempt.known != "" for attempt in attempts)
        words += f" ({known} known)" if known else ""
        self._say(f"{words or 'nothing ran'} on guest '{guest}'; results: {out}")
        if error is not None:
            self._console.print(Text(f"error: {printable(error.message)}", style="bold red"), soft_wrap=True)
            if error.hint:
                self._console.print(Text(f"hint: {printable(error.hint)}"), soft_wrap=True)

    def tell(self, text: str) -> None:
        """A sentence about the run as a whole."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(Text(printable(f"{self._clock()}  {text}")), soft_wrap=True)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began:6.1f} s"

    def _render(self) -> Spinner:
        with self._lock:
            seconds = time.monotonic() - self._since
            doing = self._what if self._what in self._running else ": ".join([*self._running[:1], self._what])
            if len(self._running) > 1:
                doing = " | ".join(self._running)
            text = f"{self._clock()}  {doing} ({seconds:.1f} s)"
        return Spinner("dots", Text(text))


def _which(attempt: Attempt) -> str:
    return f" (attempt {attempt.attempt})" if attempt.attempt > 1 else ""
