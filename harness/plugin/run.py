"""One machine's part of a run: its bench, and what becomes of each scenario on it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

import pytest

from harness.driver.crash import CrashSeen
from harness.errors import HarnessError, UsageError
from harness.plugin.complaints import complaints, with_complaints
from harness.plugin.contract import expected_of
from harness.plugin.ledger import Ledger, Teller
from harness.plugin.options import RunOptions
from harness.plugin.remembering import Remembering
from harness.plugin.retry import Retry
from harness.plugin.selection import is_scenario, quiet_seconds_of, requirements_of, rules_of, title_of
from harness.plugin.shown import PLUGIN, live_view
from harness.report import Attempt, LiveView, Outcome, ScenarioFolder, outcome_of
from harness.steps import step, subscribe

if TYPE_CHECKING:
    from harness.plugin.bench_needs import Bench
    from harness.plugin.recording import Scene


class _Current:
    """What is known of the scenario that runs now."""

    def __init__(self, item: pytest.Item, attempt: int) -> None:
        self.item = item
        self.attempt = attempt
        self.started = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self.outcome = Outcome.PASS
        self.message = ""
        self.details = ""
        self.folder = ""
        self.seconds: dict[str, float] = {}
        self.scene: Scene | None = None
        self.judged: BaseException | None = None  # what ended its checks and has been looked into

    def add(self, outcome: Outcome, message: str, details: str) -> None:
        """The first thing that went wrong gives the outcome; later ones are added to the details."""
        if self.outcome is Outcome.PASS:
            self.outcome, self.message, self.details = outcome, message, details
        else:
            self.details += f"\n\nand then, {outcome}:\n{details}"


class Run:
    """Registered as the plug-in 'wfp-hil-run' where scenarios run: in pytest itself, or in each worker of xdist."""

    def __init__(
        self, config: pytest.Config, options: RunOptions, teller: Teller, view: LiveView | None = None
    ) -> None:
        self.options = options
        self._config = config
        self._teller = teller
        self._view = view
        self._attempts: Counter[str] = Counter()
        self._current: _Current | None = None
        self._bench: Bench | None = None
        self.retry = Retry(self.covers, self.begin_item, self._give_back)
        config.pluginmanager.register(self.retry, "wfp-hil-retry")
        self._last_place: str | None = None
        self._unsubscribe: Callable[[], None] = subscribe(teller.step)

    @classmethod
    def begin(cls, config: pytest.Config, *, only_scenarios: bool) -> Run:
        """Start a run on one machine; pytest's own progress gives way to the live view where all are scenarios."""
        options = RunOptions.of(config)
        view = live_view(config, only_scenarios=only_scenarios)
        run = cls(config, options, Ledger(options.out, view, options.facts, Remembering(config)), view)
        config.pluginmanager.register(run, PLUGIN)
        view.start()
        return run

    def covers(self, item: pytest.Item) -> bool:
        """Whether a test is a scenario."""
        return is_scenario(item)

    @contextmanager
    def bench(self) -> Iterator[Bench]:
        """The bench of the session; ends the session with one sentence when it cannot be had."""
        with ExitStack() as stack:
            try:
                with step(f"prepare guest '{self.options.guest}'"):
                    opener = self._config.hook.pytest_wfp_open_bench(options=self.options)
                    if opener is None:
                        from harness.plugin.bench import open_guest_bench

                        opener = open_guest_bench(self.options)
                    bench: Bench = stack.enter_context(opener)
            except HarnessError as error:
                self._teller.refuse(error)
                self._give_up("the guest could not be prepared, see the error above", error.exit_code)
            self._teller.session(bench.facts)
            self._bench = bench
            yield bench
            self._bench = None

    @contextmanager
    def scene(self, item: pytest.Item, bench: Bench) -> Iterator[Scene]:
        """Everything around one scenario: a fresh guest before, the records during, the checks after."""
        from harness.plugin.recording import open_scene

        current = self._current
        assert current is not None, "pytest did not tell that the scenario began"
        folder = ScenarioFolder(self.options.out, item.nodeid, current.attempt)
        current.folder = str(folder.path)
        self._refresh(item, bench)
        with open_scene(bench, folder, quiet_seconds=quiet_seconds_of(item)) as scene:
            current.scene = scene
            yield scene
            if scene.crash is not None:
                self._last_place = "broken"
            elif current.outcome is Outcome.PASS:
                try:
                    scene.check(may_stop_driver="service" in getattr(item, "fixturenames", ()))
                    if self.options.contract == "fail":
                        scene.check_contract(expected_of(item))
                except (HarnessError, AssertionError) as error:
                    # Of the last scenario pytest reports when the bench is closed: what it says is found out before.
                    self._judge(current, error, "")
                    current.judged = error
                    raise

    def begin_item(self, item: pytest.Item) -> None:
        """A scenario begins."""
        self._attempts[item.nodeid] += 1
        self._current = _Current(item, self._attempts[item.nodeid])
        self._teller.begin(item.nodeid, self._current.attempt)

    def pytest_enter_pdb(self) -> None:
        """The moving line would write over the debugger's prompt."""
        if self._view is not None:
            self._view.stop()

    def pytest_leave_pdb(self) -> None:
        """The scenario goes on."""
        if self._view is not None:
            self._view.start()

    def end_phase(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """Set-up, body or clean-up has ended; after clean-up the attempt is written down."""
        current = self._current
        if current is None or current.item is not item:
            return
        current.seconds[report.when or ""] = round(report.duration, 4)
        if call.excinfo is not None:
            error = call.excinfo.value
            if isinstance(error, pytest.skip.Exception):
                current.add(Outcome.SKIP, str(error.msg), "")
            elif not isinstance(error, (pytest.exit.Exception, KeyboardInterrupt)):
                self._judge(current, error, report.longreprtext)
        report.user_properties.append(("wfp_outcome", str(current.outcome)))
        if report.when == "teardown":
            self._write(current)

    def end(self, exitstatus: int) -> int:
        """Nothing runs any more; the exit code of pytest."""
        self._unsubscribe()
        return self._teller.end(exitstatus)

    def _give_back(self, item: pytest.Item, cause: str) -> bool:
        return self._teller.give_back(item.nodeid, cause)

    def _give_up(self, why: str, code: int) -> NoReturn:
        """End the session: nothing that comes could run."""
        current, self._current = self._current, None
        if not self.options.worker or current is None:
            pytest.exit(why, code)
        current.item.session.shouldstop = why  # the one way in which a worker can end all of them
        pytest.skip(why)

    def _refresh(self, item: pytest.Item, bench: Bench) -> None:
        place = {"test": None, "module": item.nodeid.partition("::")[0], "session": ""}[self.options.fresh]
        broken = self._last_place == "broken"
        if self.retry.renew:
            bench.renew()
            self.retry.renew = False
        elif place is None or place != self._last_place or broken:
            bench.fresh()
        else:
            bench.tidy()
        self._last_place = place

    def _judge(self, current: _Current, error: BaseException, details: str) -> None:
        if error is current.judged:
            current.details = f"{current.details}\n\n{details}"
            return
        cause, moment = error, getattr(error, "moment", time.monotonic())
        if self._bench is not None and current.scene is not None and current.scene.crash is None:
            cause = self._bench.diagnose(error)
        outcome = outcome_of(cause)
        if outcome in (Outcome.CRASH, Outcome.HANG, Outcome.LOST):
            self._last_place = "broken"
        if outcome is Outcome.LOST:
            self.retry.note(cause)
        if isinstance(cause, CrashSeen) and self._bench is not None and current.scene is not None:
            cause = self._bench.save_crash(cause, current.scene, current.scene.folder.path).seen
        elif outcome in (Outcome.CRASH, Outcome.HANG) and self._bench is not None and current.scene is not None:
            self._bench.save_dumps(current.scene.folder.path)
        if outcome is Outcome.FAIL and self._bench is not None and current.scene is not None:
            self._bench.save_state(current.scene.folder.wfp_state)
        if isinstance(cause, UsageError):
            self._teller.misuse(cause)
        message = str(cause) or type(cause).__name__
        if not isinstance(cause, (HarnessError, AssertionError)):
            message = f"{type(cause).__name__}: {message}"
        current.add(outcome, message.strip(), details or message)
        if current.scene is not None:
            from harness.expect import failure_entry

            current.scene.failed(failure_entry(moment, outcome, message.strip()))
        if cause is not error and details:
            current.details = f"{message}\n\n{current.details}"

    def _write(self, current: _Current) -> None:
        scene = current.scene
        said = complaints(scene.bench.serial_log, scene.serial_start) if scene is not None else ()
        breaches = scene.contract.breaches() if scene is not None else ()
        if current.outcome in (Outcome.FAIL, Outcome.CRASH, Outcome.HANG):
            current.message = with_complaints(current.message, said)
            if scene is not None and breaches and not scene.contract.failed:
                told = scene.contract.tell(breaches)
                current.message = "\n".join([current.message, "Meanwhile the driver broke its contract:", *told])
        if current.outcome is Outcome.PASS and "call" not in current.seconds:
            current.add(Outcome.SKIP, "Its body was not run, because --setup-only was given.", "")
        attempt = Attempt(
            scenario=current.item.nodeid,
            outcome=current.outcome,
            title=title_of(current.item),
            attempt=current.attempt,
            guest=str(self.options.guest if self._bench is None else self._bench.facts["guest"]),
            rules=rules_of(current.item),
            requirements=requirements_of(current.item),
            message=current.message,
            seed="; ".join(dict.fromkeys(scene.seeds)) if scene is not None else "",
            details=current.details,
            complaints=said,
            breaches=scene.contract.records(breaches, expected_of(current.item)) if scene is not None else (),
            departures=tuple(each.as_record() for each in scene.departures) if scene is not None else (),
            folder=current.folder,
            started=current.started,
            seconds=current.seconds,
        )
        self._teller.result(attempt)
        self._current = None
