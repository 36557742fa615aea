"""What an attempt on a bench is as a verdict, and what is done about one that was lost."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.capture import Capture
from harness.driver.contract import Breach
from harness.driver.crash import Crash, CrashSeen
from harness.driver.guest_record import Frame
from harness.errors import CaptureError, GuestHung, HostError, MachineLost, UsageError
from harness.minimise.packets import capture_of, tcp
from harness.plugin import trying
from harness.plugin.options import RunOptions
from harness.plugin.replaying import Attempted
from harness.plugin.trying import BenchRunner, open_trials, settings_for, settled_guest
from harness.report import Outcome
from harness.reproduce import Settings
from tests.minimise.field import GUEST, field_capture

SYN = capture_of([tcp("198.51.100.7:1", f"{GUEST}:80", "S")])
SETTINGS = Settings(guest_addresses=(GUEST, "2001:db8::5"))


@dataclass
class Ground:
    """A bench of which only the calls count, and what the next attempts come to."""

    results: list[Any]
    renewed: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.driver_file = None
        self.facts = {"guest": "fake"}

    @property
    def options(self) -> SimpleNamespace:
        return SimpleNamespace(machine_folder=self.folder, contract="fail")

    folder: Path = Path()

    def renew(self) -> None:
        self.renewed += 1


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    made = Ground([], folder=tmp_path)

    def attempt(bench: Any, folder: Any, capture: Capture, settings: Settings) -> Attempted:
        assert settings.guest_addresses == (GUEST,)
        made.asked += 1
        result = made.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(trying, "attempt", attempt)
    return made


def breach(rule: str) -> Breach:
    return Breach(rule=rule, call="f", text="t", count=1, stack=())


def runner(ground: Ground) -> BenchRunner:
    return BenchRunner(ground, SETTINGS)  # type: ignore[arg-type]


def test_a_crash_is_told_by_code_and_place(ground: Ground) -> None:
    crash = Crash(code=0x139, stack=(Frame("fwpkclnt.sys", 1), Frame("x.sys", 0x46)))
    replayed = SimpleNamespace(departures=(1, 2))
    ground.results = [Attempted(Outcome.CRASH, CrashSeen(crash), (breach("W119"), breach("W119")), replayed)]  # type: ignore[arg-type]
    verdict = runner(ground)(SYN)
    assert verdict.crash is not None
    assert (verdict.crash.code, verdict.crash.module, verdict.crash.offset) == (0x139, "x.sys", 0x46)
    assert (verdict.outcome, verdict.rules, verdict.departures) == (Outcome.CRASH, ("W119",), 2)
    assert not list(ground.folder.glob("scenarios/*"))


def test_a_hang_and_a_pass_are_what_they_are(ground: Ground) -> None:
    ground.results = [
        Attempted(Outcome.HANG, GuestHung("It stands."), (), None),
        Attempted(Outcome.PASS, None, (), None),
    ]
    run = runner(ground)
    hang, passed = run(SYN), run(SYN)
    assert (hang.outcome, hang.message, passed.outcome) == (Outcome.HANG, "It stands.", Outcome.PASS)
    assert ground.renewed == 0


def test_after_a_loss_comes_a_fresh_machine(ground: Ground) -> None:
    """Whether it was lost in the attempt or on the way back to its beginning."""
    good = Attempted(Outcome.PASS, None, (), None)
    ground.results = [
        Attempted(Outcome.LOST, MachineLost("gone"), (), None), good, good, MachineLost("no way back"), good, good,
    ]  # fmt: skip
    run = runner(ground)
    outcomes = [run(SYN).outcome for _ in range(6)]
    assert outcomes == [Outcome.LOST, Outcome.PASS, Outcome.PASS, Outcome.LOST, Outcome.PASS, Outcome.PASS]
    assert ground.renewed == 2


def test_what_has_nothing_of_the_guest_is_not_attempted(ground: Ground) -> None:
    others = capture_of([tcp("198.51.100.7:1", "198.51.100.8:80", "S")])
    assert runner(ground)(others).outcome is Outcome.PASS
    assert runner(ground)(Capture(())).outcome is Outcome.PASS
    assert ground.asked == 0


def test_what_cannot_be_replayed_passes_and_what_is_wrong_is_raised(ground: Ground) -> None:
    ground.results = [CaptureError("nothing to replay"), UsageError("wrong")]
    run = runner(ground)
    assert run(SYN).outcome is Outcome.PASS
    with pytest.raises(UsageError, match="wrong"):
        run(SYN)


def test_the_guest_is_found_once_in_the_whole() -> None:
    capture = field_capture(connections=12, culprit=4)
    settings = settled_guest(capture, Settings())
    assert settings.guest_addresses == (GUEST,)
    part = capture.keeping(capture.conversations()[0].numbers)
    found = settings_for(part, settings)
    assert found is not None
    assert found.guest_addresses == (GUEST,)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(guest="no-such-guest", driver=None, nic=None, fresh="test", reuse_boot=True, out=tmp_path)


def test_a_guest_that_cannot_be_had_in_another_process_is_told(options: RunOptions) -> None:
    """By its own sentence; and no process is left."""
    with pytest.raises(HostError, match="no-such-guest"), open_trials(options, SETTINGS, machines=2):
        pytest.fail("there is no such guest")

    assert not multiprocessing.active_children()


def test_another_process_attempts_what_comes_through_its_pipe(
    ground: Ground, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the pipe is closed; Ctrl-C at the terminal is not its business, a request to end is."""
    ground.results = [
        Attempted(Outcome.PASS, None, (), None),
        Attempted(Outcome.LOST, MachineLost("gone"), (), None),
    ]
    closed: list[str] = []

    @contextmanager
    def bench(_: RunOptions) -> Iterator[Ground]:
        try:
            yield ground
        finally:
            closed.append("bench")

    monkeypatch.setattr(trying, "open_guest_bench", bench)
    monkeypatch.setattr(trying, "end_with_parent", lambda: closed.append("bound to its parent"))
    ours, theirs = multiprocessing.Pipe()
    seen: list[Any] = []

    def ask() -> None:
        seen.append(ours.recv())
        for _ in range(2):
            ours.send(SYN)
            seen.append(ours.recv().outcome)
        ours.close()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)}
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        trying._serve(theirs, options, SETTINGS)
    finally:
        ignored = signal.getsignal(signal.SIGINT)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        asking.join(20)
    assert seen == [{"guest": "fake"}, Outcome.PASS, Outcome.LOST]
    assert closed == ["bound to its parent", "bench"]
    assert ignored is signal.SIG_IGN


def test_a_process_that_ends_by_itself_is_the_hosts_fault(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    far = object.__new__(trying._FarRunner)
    far._line, far._name = ours, "m1"
    with pytest.raises(HostError, match="The process of the machine 'm1' ended unexpectedly"):
        far.ready()
    with pytest.raises(HostError, match="ended unexpectedly"):
        far(SYN)
