"""A worker of pytest-xdist: it has a machine of its own, and tells the ledger of the run through a line."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from dataclasses import asdict
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, UsageError
from harness.plugin.options import RunOptions
from harness.plugin.run import Run
from harness.plugin.shown import PLUGIN
from harness.report import Attempt
from harness.steps import StepEvent

_PR_SET_PDEATHSIG = 1


def begin_in_worker(config: pytest.Config, *, only_scenarios: bool) -> None:
    """Take part in a run that another process leads."""
    told: dict[str, Any] = config.workerinput["wfp_hil"]  # type: ignore[attr-defined]
    _belong_to_the_leader()
    line = Line(told["address"], bytes.fromhex(told["key"]))
    options = RunOptions.of(config, out=Path(told["out"]), worker=str(told["worker"]))
    line.hello(worker=options.worker, facts=options.facts, only_scenarios=only_scenarios)
    config.pluginmanager.register(Run(config, options, line), PLUGIN)


class Line:
    """Tells over a local socket, one JSON object a message; the worker's side of `harness.plugin.workers`."""

    def __init__(self, address: str, key: bytes) -> None:
        self._connection: Connection = Client(address, family="AF_UNIX", authkey=key)

    def hello(self, *, worker: str, facts: dict[str, object], only_scenarios: bool) -> None:
        """There are scenarios, and this worker will run some."""
        self._send("hello", worker=worker, pid=os.getpid(), facts=facts, only_scenarios=only_scenarios)

    def session(self, facts: dict[str, object]) -> None:
        """A guest is ready."""
        self._send("session", facts=facts)

    def refuse(self, error: HarnessError) -> None:
        """No guest could be had."""
        self._send(
            "refuse", kind=type(error).__name__, message=error.message, hint=error.hint, exit_code=error.exit_code
        )

    def begin(self, scenario: str, attempt: int) -> None:
        """A scenario begins."""
        self._send("begin", scenario=scenario, attempt=attempt)

    def result(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        self._send("result", attempt=asdict(attempt))

    def misuse(self, error: UsageError) -> None:
        """A scenario asked for what does not exist."""
        self._send("misuse", message=error.message, hint=error.hint)

    def step(self, event: StepEvent) -> None:
        """A step began or ended."""
        self._send(
            "step", kind=event.kind, title=event.title, time=event.time, depth=event.depth, duration=event.duration
        )

    def end(self, exitstatus: int) -> int:
        """All is told; the exit code of a worker is pytest-xdist's own affair."""
        self._connection.close()
        return exitstatus

    def _send(self, message: str, /, **fields: object) -> None:
        self._connection.send_bytes(json.dumps([message, fields], default=str).encode())


def _belong_to_the_leader() -> None:
    """Ctrl-C reaches the leader alone, which passes it on once: a second one would break off the clearing-up.

    Whoever kills the leader means its workers as well: none goes on driving a machine that nobody watches.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # of a leader in the background it came ignored
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
