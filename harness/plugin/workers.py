"""The leader of a run on several machines: it starts no scenario itself, and keeps the one ledger of all workers."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import pytest

from harness.errors import HarnessError, UsageError
from harness.plugin.handed_back import HandedBack
from harness.plugin.ledger import Ledger
from harness.plugin.options import RunOptions
from harness.plugin.remembering import Remembering
from harness.plugin.shown import PLUGIN, live_view
from harness.report import Attempt, Outcome
from harness.steps import StepEvent
from harness.waiting import Deadline

_LAST_WORDS_SECONDS = 60.0  # of processes that have ended: it takes as long as a busy host needs to read them
_CLEAR_UP_SECONDS = 60.0
_LAST = "last"
_ENDED = "The process of the harness that ran it ended in the middle, which says nothing about the driver."


class Workers:
    """Registered as the plug-in 'wfp-hil-run' in the process that the person called.

    Nothing is written before a worker says that there are scenarios: other suites run in parallel as ever.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._options = RunOptions.of(config)
        self._key = secrets.token_bytes(32)
        # An address without a file: nothing is left of it, and without the key nobody has a say.
        self._address = f"\0wfp-hil-{secrets.token_hex(8)}"
        self._listener = Listener(self._address, family="AF_UNIX", authkey=self._key)
        # Written by the acceptor alone, as workers come.
        self._ledger: Ledger | None = None
        self._lines: list[threading.Thread] = []
        self._pids: list[int] = []
        self._handed_back = HandedBack()
        self._acceptor = threading.Thread(target=self._accept, name="workers", daemon=True)
        self._acceptor.start()

    @classmethod
    def of(cls, config: pytest.Config) -> Workers:
        """The one of this session."""
        if not config.pluginmanager.hasplugin(PLUGIN):
            config.pluginmanager.register(cls(config), PLUGIN)
        workers: Workers = config.pluginmanager.getplugin(PLUGIN)
        return workers

    def invite(self, node: Any) -> None:
        """Tell a worker that is about to be started where the ledger is."""
        self._handed_back.expect(node.gateway.id)
        node.workerinput["wfp_hil"] = {
            "address": self._address,
            "key": self._key.hex(),
            "out": str(self._options.out),
            "worker": node.gateway.id,
        }

    def covers(self, item: pytest.Item) -> bool:  # noqa: ARG002
        """No test runs in this process."""
        return False

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:  # noqa: ARG002
        """A worker's process ended in the middle of a scenario."""
        if self._ledger is None:
            return
        report.user_properties.append(("wfp_outcome", str(Outcome.LOST)))
        self._ledger.result(Attempt(scenario=crashitem, outcome=Outcome.LOST, message=_ENDED))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker has ended, of itself or not."""
        self._handed_back.gone(node.gateway.id, died=error is not None)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Pass it on before pytest-xdist ends the workers by force: each takes its machine away first."""
        if excinfo.type is not KeyboardInterrupt:
            return
        self._handed_back.close()
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
        deadline = Deadline(_CLEAR_UP_SECONDS)
        for line in self._lines:
            line.join(deadline.remaining())

    def end(self, exitstatus: int) -> int:
        """All workers have ended; the exit code of pytest."""
        deadline = Deadline(_LAST_WORDS_SECONDS)
        # Behind all that workers have opened comes one line of our own: nothing is left in the queue then.
        with Client(self._address, family="AF_UNIX", authkey=self._key) as own:
            own.send_bytes(json.dumps([_LAST, {}]).encode())
            self._acceptor.join(deadline.remaining())
        self._listener.close()
        for line in self._lines:
            line.join(deadline.remaining())
        return exitstatus if self._ledger is None else self._ledger.end(exitstatus)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
                message, hello = json.loads(connection.recv_bytes())
            except Exception:  # noqa: S112 - a stranger without the key, or a worker that died at once
                continue
            if message == _LAST:
                connection.close()
                return
            self._open(hello)
            self._pids.append(int(hello["pid"]))
            line = threading.Thread(target=self._read, args=(connection, str(hello["worker"])), daemon=True)
            self._lines.append(line)
            line.start()

    def _read(self, connection: Connection, worker: str) -> None:
        handed: str | None = None
        running: tuple[str, int] | None = None
        with connection, suppress(EOFError, OSError):
            while True:
                message, fields = json.loads(connection.recv_bytes())
                if message == "more":
                    handed = self._hand_out(connection, worker, str(fields["latched"]))
                    continue
                self._take(worker, message, fields)
                if message == "begin":
                    running = fields["scenario"], fields["attempt"]
                elif message == "result":
                    handed = running = None
        self._handed_back.ended(worker)
        # pytest-xdist knows nothing of a scenario that was handed out here.
        if handed is not None and running is None:
            self._handed_back.take_back(handed)
        elif handed is not None and running is not None and self._ledger is not None:
            self._ledger.result(Attempt(scenario=running[0], outcome=Outcome.LOST, message=_ENDED, attempt=running[1]))

    def _hand_out(self, connection: Connection, worker: str, latched: str) -> str | None:
        more = self._handed_back.more(worker, latched)
        try:
            connection.send_bytes(json.dumps(None if more is None else [more.scenario, more.skip]).encode())
        except OSError:
            if more is not None:
                self._handed_back.take_back(more.scenario)
            raise
        return None if more is None else more.scenario

    def _take(self, worker: str, message: str, fields: dict[str, Any]) -> None:
        ledger = self._ledger
        assert ledger is not None, "a worker says hello first"
        if message == "session":
            ledger.session(fields["facts"])
        elif message == "refuse":
            error = HarnessError(fields["message"], hint=fields["hint"])
            error.exit_code = fields["exit_code"]  # type: ignore[misc]
            ledger.refuse(error)
        elif message == "begin":
            ledger.begin(fields["scenario"], fields["attempt"])
        elif message == "result":
            ledger.result(Attempt(**{**fields["attempt"], "outcome": Outcome(fields["attempt"]["outcome"])}))
        elif message == "give_back":
            if self._handed_back.give_back(worker, fields["scenario"], fields["cause"]):
                ledger.view.tell(f"{worker}: {fields['cause']} The others run what is left of its scenarios.")
        elif message == "misuse":
            ledger.misuse(UsageError(fields["message"], hint=fields["hint"]))
        elif message == "step":
            ledger.step(StepEvent(**fields, fields={"machine": worker}))

    def _open(self, hello: dict[str, Any]) -> None:
        if self._ledger is None:
            view = live_view(self._config, only_scenarios=hello["only_scenarios"])
            self._ledger = Ledger(self._options.out, view, dict(hello["facts"]), Remembering(self._config))
            view.start()
