"""Attempts at a capture on a bench, one after the other in one process: each on a guest that was put back before.

Where the host has cores for it, several machines are at it, each in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness.capture import Capture
from harness.driver.crash import CrashSeen
from harness.errors import (
    CaptureError,
    DeadlineExpired,
    GuestError,
    HarnessError,
    HostError,
    LinkError,
    MachineError,
    TransportError,
)
from harness.link.headers import address_text
from harness.minimise.tries import Runner
from harness.minimise.verdict import CrashPlace, Verdict
from harness.ownership import end_with_parent
from harness.plugin.bench import open_guest_bench
from harness.plugin.bench_needs import Bench
from harness.plugin.diagnosis import names_of
from harness.plugin.options import RunOptions
from harness.plugin.replaying import attempt
from harness.report import Outcome, ScenarioFolder
from harness.reproduce import Settings, find_guest

_SCENARIO = "tries::attempt"
_OPEN_SECONDS = 900.0
_CLOSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Trials:
    """What tries need: the runners, one for each machine, and the circumstances of the guest."""

    runners: Sequence[Runner]
    facts: dict[str, object]


class BenchRunner:
    """Replays captures on one bench; what an attempt recorded is thrown away once it has been judged."""

    def __init__(self, bench: Bench, settings: Settings) -> None:
        self._bench, self._settings = bench, settings
        self._names = names_of(bench.driver_file)
        self._lost = False

    def __call__(self, capture: Capture) -> Verdict:
        """One attempt."""
        settings = settings_for(capture, self._settings)
        if settings is None:
            return Verdict(outcome=Outcome.PASS, message="Nothing in it is the guest's: there was nothing to replay.")
        folder = ScenarioFolder(self._bench.options.machine_folder, _SCENARIO)
        try:
            if self._lost:
                self._bench.renew()
            done = attempt(self._bench, folder, capture, settings)
        except CaptureError as error:
            self._lost = False
            return Verdict(outcome=Outcome.PASS, message=error.message)
        except (MachineError, TransportError, GuestError, LinkError, DeadlineExpired) as error:
            self._lost = True  # on the way back already: the next attempt gets a fresh machine
            return Verdict(outcome=Outcome.LOST, message=str(error))
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)
        self._lost = done.outcome is Outcome.LOST
        cause = done.error
        return Verdict(
            outcome=done.outcome,
            message="" if cause is None else str(cause),
            crash=CrashPlace.of(cause.crash, self._names) if isinstance(cause, CrashSeen) else None,
            rules=tuple(dict.fromkeys(breach.rule for breach in done.breaches)),
            departures=len(done.replayed.departures) if done.replayed is not None else 0,
        )


def settings_for(capture: Capture, settings: Settings) -> Settings | None:
    """The settings with those of the guest's addresses that the capture still has; None where it has none."""
    there = {
        address for conversation in capture.conversations() for address, _ in (conversation.first, conversation.second)
    }
    texts = {address_text(address) for address in there}
    guests = tuple(address for address in settings.guest_addresses if address in texts)
    return replace(settings, guest_addresses=guests) if guests else None


def settled_guest(capture: Capture, settings: Settings) -> Settings:
    """The settings with the guest named: a part of the capture might be taken for another's."""
    role = find_guest(capture, settings.guest_addresses)
    return replace(settings, guest_addresses=tuple(sorted(map(address_text, role.addresses))))


@contextmanager
def open_trials(options: RunOptions, settings: Settings, *, machines: int = 1) -> Iterator[Trials]:
    """Benches for tries; everything is gone after the block."""
    with ExitStack() as stack:
        if machines == 1:
            bench = stack.enter_context(open_guest_bench(options))
            yield Trials([BenchRunner(bench, settings)], dict(bench.facts))
            return
        far = [
            stack.enter_context(_far_runner(replace(options, worker=f"m{number}"), settings))
            for number in range(machines)
        ]
        facts = [one.ready() for one in far]
        yield Trials(far, facts[0])


def inputs_of(trials: Trials, options: RunOptions, settings: Settings) -> dict[str, object]:
    """What an attempt depends on beside its capture: verdicts of other circumstances are no answer."""
    names = ("guest", "image", "driver_sha256", "nic", "harness")
    return {
        **{name: trials.facts.get(name) for name in names},
        "vcpus": options.vcpus,
        "verifier": options.verifier,
        "contract": options.contract,
        "timing": str(settings.timing),
        "patience": settings.patience,
        "guest_addresses": list(settings.guest_addresses),
    }


class _FarRunner:
    """A bench in another process, and the pipe to it."""

    def __init__(self, options: RunOptions, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._name = options.worker
        self._process: BaseProcess = context.Process(target=_serve, args=(theirs, options, settings), daemon=False)
        self._process.start()
        theirs.close()

    def ready(self) -> dict[str, object]:
        """Wait until its guest is; gives the circumstances."""
        answer = self._receive(_OPEN_SECONDS)
        assert isinstance(answer, dict)
        return answer

    def __call__(self, capture: Capture) -> Verdict:
        """One attempt there."""
        try:
            self._line.send(capture)
        except OSError as error:
            raise self._ended() from error
        answer = self._receive(None)
        assert isinstance(answer, Verdict)
        return answer

    def close(self) -> None:
        """Have it end its machine."""
        self._line.close()
        self._process.join(_CLOSE_SECONDS)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_CLOSE_SECONDS)

    def _receive(self, seconds: float | None) -> object:
        try:
            if seconds is not None and not self._line.poll(seconds):
                raise HostError(f"The machine '{self._name}' was not ready within {seconds:.0f} s.")
            answer = self._line.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _ended(self) -> HostError:
        return HostError(f"The process of the machine '{self._name}' ended unexpectedly.")


@contextmanager
def _far_runner(options: RunOptions, settings: Settings) -> Iterator[_FarRunner]:
    runner = _FarRunner(options, settings)
    try:
        yield runner
    finally:
        runner.close()


def _serve(line: Connection, options: RunOptions, settings: Settings) -> None:
    """The other process: attempts for as long as captures come; Ctrl-C is the caller's business, its end also ours."""
    end_with_parent()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with open_guest_bench(options) as bench:
            line.send(dict(bench.facts))
            runner = BenchRunner(bench, settings)
            while True:
                line.send(runner(line.recv()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except HarnessError as error:
        line.send(HostError(error.message, hint=error.hint))


def machine_folder(out: Path) -> Path:
    """Where machines write by themselves, made and readable for QEMU's own user."""
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o755)
    return out
