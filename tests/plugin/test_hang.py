"""Who is to blame when a guest falls silent: a second channel and a management network are told what to say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import DeadlineExpired, ExpectationFailed, GuestHung, MachineLost, TransportError
from harness.guest.second_channel import Hello, Refused
from harness.guest.threads import read_processes
from harness.plugin.diagnosis import diagnose
from harness.plugin.hang import Inquiry
from harness.waiting import Deadline

LATE = DeadlineExpired("Waited 20.0 s for the probe's answer to 'tcp_connect', in vain.")
SILENT = DeadlineExpired("Waited 10.0 s for the probe's answer to 'hello', in vain.")


def stacks(*modules: str) -> Any:
    frames = [{"module": name, "offset": 16 * at, "sp": 100 + at} for at, name in enumerate(modules)]
    threads = [{"tid": 7, "name": "t", "state": "R", "ticks": 3, "native": None, "frames": frames}]
    return read_processes({"processes": [{"pid": 1, "name": "winedevice.exe", "threads": threads}]})


IDLE = stacks("ntdll.dll", "fwpkclnt.sys", "kernel32.dll")
STUCK = stacks("wfpcallout.sys", "fwpkclnt.sys", "kernel32.dll")


class Channel:
    def __init__(self) -> None:
        self.boot_id, self.management, self.silent = "b007", True, False
        self.stops: bool | Exception = True
        self.seen = IDLE
        self.stopped: list[str] = []

    def hello(self, deadline: Deadline) -> Hello:
        if self.silent:
            raise DeadlineExpired("Waited 15.0 s for the guest's second channel to answer 'hello', in vain.")
        return Hello(kind="reference", boot_id=self.boot_id, uptime=9, management=self.management, drivers=())

    def stacks(self, process: str, deadline: Deadline) -> Any:
        assert process == "winedevice.exe"
        return self.seen

    def stop_service(self, name: str, deadline: Deadline) -> bool:
        self.stopped.append(name)
        if isinstance(self.stops, Exception):
            raise self.stops
        return self.stops

    def close(self) -> None: ...


class Case:
    """An inquiry, and what an error comes to with it."""

    def __init__(self, *, is_windows: bool = False, has_agent: bool = True) -> None:
        self.channel = Channel()
        self.back = True
        self.probe_answers = False
        self.machine = SimpleNamespace(is_alive=lambda: True, condition="running")
        self.inquiry = Inquiry(
            machine=self.machine,  # type: ignore[arg-type]
            channel=self.channel,  # type: ignore[arg-type]
            guest=lambda: SimpleNamespace(cut=lambda: None, wait_until_ready=self._ready),
            driver=Path("wfpcallout.sys"),
            is_windows=is_windows,
        )
        self.channel.silent = not has_agent
        self.inquiry.greet(Deadline(1))

    def _ready(self, deadline: Deadline) -> None:
        if not self.back:
            raise DeadlineExpired("Waited 40.0 s for WinRM, in vain.")

    def _hello(self, deadline: Deadline) -> None:
        if not self.probe_answers:
            raise SILENT

    def of(self, error: BaseException) -> BaseException:
        probe = SimpleNamespace(start=lambda op: SimpleNamespace(reply=self._hello))
        return diagnose(error, check=lambda: None, probe=lambda: probe, inquiry=self.inquiry)  # type: ignore[arg-type]


def test_a_network_that_comes_back_once_the_driver_is_unloaded_was_cut_by_it():
    case = Case()

    cause = case.of(LATE)

    assert isinstance(cause, ExpectationFailed)
    assert str(cause).startswith("The driver cut the guest's management network. Waited 20.0 s for the probe's answer")
    assert case.channel.stopped == ["wfpcallout"]
    assert case.inquiry.unloaded, "the bench has to know that its driver is gone"


def test_a_thread_in_the_driver_is_a_hang_and_the_driver_is_left_alone(tmp_path):
    case = Case()
    case.channel.seen = STUCK

    cause = case.of(LATE)

    assert isinstance(cause, GuestHung)
    assert "The driver does not come back: Thread 7 turns in wfpcallout.sys+0x0 < fwpkclnt.sys+0x10" in cause.message
    assert not case.channel.stopped
    case.inquiry.save(tmp_path)
    assert "wfpcallout.sys+0x0" in (tmp_path / "threads.txt").read_text()


def test_a_late_answer_of_a_guest_that_is_reachable_is_a_hang_only_with_a_thread_in_the_driver():
    case = Case()
    case.probe_answers = True

    assert isinstance(case.of(LATE), ExpectationFailed)
    case.channel.seen = STUCK
    assert isinstance(case.of(LATE), GuestHung)


def test_a_driver_that_does_not_unload_either_hangs():
    case = Case()
    case.channel.stops = Refused("stop", "Timeout", "'sc stop wfpcallout' did not end within 18.0 s.")

    cause = case.of(LATE)

    assert isinstance(cause, GuestHung)
    assert "The driver does not unload either" in cause.message


def test_a_network_that_stays_away_without_the_driver_is_a_hang():
    case = Case()
    case.back = False

    cause = case.of(LATE)

    assert isinstance(cause, GuestHung)
    assert "stays unreachable, although the driver was unloaded" in cause.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boot_id": "other"}, "its boot id was b007 and is other"),
        ({"management": False}, "Nobody listens on WinRM's port"),
        ({"silent": True}, "A driver of this guest lives in a process"),
    ],
)
def test_what_the_driver_cannot_have_done_is_no_fault_of_its(change, said):
    case = Case()
    for name, value in change.items():
        setattr(case.channel, name, value)

    cause = case.of(LATE)

    assert isinstance(cause, MachineLost)
    assert said in cause.message
    assert not case.channel.stopped
    assert isinstance(case.of(GuestHung("Nothing moved for 46 s.")), MachineLost | GuestHung)


def test_a_machine_that_is_gone_is_lost_for_windows_as_well():
    case = Case(is_windows=True)
    case.channel.silent = True
    case.machine.is_alive, case.machine.condition = (lambda: False), "gone"

    assert isinstance(case.of(LATE), MachineLost)
    assert not case.inquiry.wants_dump


def test_a_windows_that_is_silent_everywhere_hangs_and_is_asked_for_a_dump():
    case = Case(is_windows=True)
    case.channel.silent = True

    assert isinstance(case.of(LATE), GuestHung)
    assert case.inquiry.wants_dump


def test_without_an_agent_a_silent_guest_hangs_as_before():
    case = Case(has_agent=False)

    cause = case.of(LATE)

    assert isinstance(cause, GuestHung)
    assert "After that the guest's probe did not answer" in cause.message


def test_a_hang_that_was_told_already_gets_its_thread():
    case = Case()
    case.channel.seen = STUCK

    cause = case.of(GuestHung("The fence did not close within 20 s: Waited 20.0 s for a ping, in vain."))

    assert isinstance(cause, GuestHung)
    assert cause.message.startswith("The fence did not close within 20 s")
    assert "Thread 7 turns" in cause.message


def test_a_broken_transport_of_a_guest_that_answers_says_nothing_of_the_driver():
    case = Case()
    case.probe_answers = True
    broken = TransportError("The SFTP connection was cut twice.")

    assert case.of(broken) is broken


def test_after_a_revert_nothing_of_it_is_left(tmp_path):
    case = Case()
    case.channel.seen = STUCK
    case.of(LATE)

    case.inquiry.forget()
    case.inquiry.save(tmp_path)

    assert not list(tmp_path.iterdir())
    assert case.inquiry.has_channel
