"""Deadlines, waiting, processes and steps: what everything else rests on."""

from __future__ import annotations

import signal
import sys

import pytest

from harness.errors import DeadlineExpired, HarnessError, HostError
from harness.process import run, start
from harness.steps import StepEvent, current, note, step, subscribe
from harness.waiting import Deadline, NotYet, wait_for
from tests.processes import is_running


def test_inner_deadline_never_outlives_the_outer() -> None:
    outer = Deadline(5)
    assert outer.sub(60).remaining() <= 5
    assert outer.sub(1).remaining() <= 1


def test_wait_returns_what_the_check_found() -> None:
    answers = iter([None, None, "found"])
    assert wait_for(lambda: next(answers), Deadline(30), "an answer", interval=0.001) == "found"


def test_wait_looks_once_even_when_time_is_up() -> None:
    assert wait_for(lambda: 0, Deadline(0), "nothing") == 0


def test_wait_tells_what_it_last_saw() -> None:
    def check() -> None:
        raise NotYet("state 'booting'")

    with pytest.raises(DeadlineExpired, match=r"for the guest, in vain \(last seen: state 'booting'\)"):
        wait_for(check, Deadline(0.01), "the guest")


def test_missing_program_is_a_host_error_with_a_hint() -> None:
    with pytest.raises(HostError, match="'no-such-program-here' is not installed") as caught:
        run(["no-such-program-here"])
    assert caught.value.hint is not None


def test_failing_program_shows_its_own_words() -> None:
    with pytest.raises(HostError, match=r"exit code 3: out of coffee"):
        run([sys.executable, "-c", "import sys; print('out of coffee', file=sys.stderr); sys.exit(3)"])


def test_program_past_its_deadline_is_ended_with_its_children() -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '1000']); print(p.pid, flush=True); p.wait()"
    with start([sys.executable, "-c", code]) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
    assert process.returncode == -signal.SIGKILL

    assert wait_for(lambda: None if is_running(child) else True, Deadline(20), "the grandchild to end")
    with pytest.raises(DeadlineExpired, match="was stopped"):
        run(["sleep", "1000"], deadline=Deadline(0.05))


def test_steps_nest_and_keep_the_error() -> None:
    seen: list[StepEvent] = []
    unsubscribe = subscribe(seen.append)
    try:
        with pytest.raises(HarnessError), step("outer", guest="reference"), step("inner"):
            assert current() == "outer > inner"
            note("a fact")
            raise HarnessError("It broke.")
    finally:
        unsubscribe()
    note("nobody hears this")
    assert [(e.kind, e.title, e.depth) for e in seen] == [
        ("start", "outer", 0),
        ("start", "inner", 1),
        ("note", "a fact", 2),
        ("error", "inner", 1),
        ("error", "outer", 0),
    ]
    assert str(seen[-1].error) == "It broke."
    assert current() == ""
