"""A worker of pytest-xdist: it has a machine of its own, and tells the ledger of the run through a line."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator
from dataclasses import asdict
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, UsageError
from harness.ownership import end_with_parent
from harness.plugin.options import RunOptions
from harness.plugin.retry import Retry
from harness.plugin.run import Run
from harness.plugin.shown import PLUGIN
from harness.report import Attempt
from harness.steps import StepEvent, note


def begin_in_worker(config: pytest.Config, *, only_scenarios: bool) -> None:
    """Take part in a run that another process leads."""
    told: dict[str, Any] = config.workerinput["wfp_hil"]  # type: ignore[attr-defined]
    _belong_to_the_leader()
    line = Line(told["address"], bytes.fromhex(told["key"]))
    options = RunOptions.of(config, out=Path(told["out"]), worker=str(told["worker"]))
    line.hello(worker=options.worker, facts=options.facts, only_scenarios=only_scenarios)
    run = Run(config, options, line)
    config.pluginmanager.register(run, PLUGIN)
    config.pluginmanager.register(Remaining(line, run.retry), "wfp-hil-remaining")


class Remaining:
    """Behind a worker's own share it runs what latched machines have handed back."""

    def __init__(self, line: Line, retry: Retry) -> None:
        self._line, self._retry = line, retry

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Go on until nobody is left who could hand anything back."""
        done = yield
        _let_go(session)  # of a machine that is latched: nothing will run on it
        while not (session.shouldfail or session.shouldstop):
            more = self._line.more(self._retry.latched)
            if more is None:
                break
            self._run(session, *more)
        _let_go(session)
        return done

    def _run(self, session: pytest.Session, scenario: str, skip: str) -> None:
        at = next(at for at, item in enumerate(session.items) if item.nodeid == scenario)
        for plugin in session.config.pluginmanager.get_plugins():
            if type(plugin).__name__ == "WorkerInteractor":
                plugin.item_index = at  # which reports pytest-xdist's own loop would say they are of
        if skip:
            self._retry.skip_all(skip)
        item = session.items[at]
        after: Any = session  # an item that does not exist, of this session: the machine stays for it
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


def _let_go(session: pytest.Session) -> None:
    """End what outlives scenarios, the machine above all, as the teardown of a last one does."""
    try:
        session._setupstate.teardown_exact(None)  # noqa: SLF001 - there is no public way
    except Exception as error:  # whatever it is, there is no scenario that could be told of it
        note(f"At the end of the machine something went wrong: {error}")


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

    def give_back(self, scenario: str, cause: str) -> bool:
        """This machine runs nothing any more: somebody else is to have it."""
        self._send("give_back", scenario=scenario, cause=cause)
        return True

    def more(self, latched: str | None) -> tuple[str, str] | None:
        """What to do behind one's own share: a scenario, and why it is to be skipped; None for nothing.

        Waits as long as another worker may hand something back; the leader's end is the end of this process.
        """
        self._send("more", latched=latched or "")
        answer = json.loads(self._connection.recv_bytes())
        return None if answer is None else (str(answer[0]), str(answer[1]))

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
    end_with_parent()
