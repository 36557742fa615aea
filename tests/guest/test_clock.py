"""A guest that goes on from a kept state is told the time."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import GuestError
from harness.guest.reference import ReferenceGuest
from harness.guest.session import Guest
from harness.guest.transport import CommandResult
from harness.guest.windows import WindowsGuest


def guest(kind: Any, commands: list[str], *, exit_code: int = 0, said: str = "") -> Guest:
    def run(command: str, deadline: object) -> CommandResult:
        commands.append(command)
        return CommandResult(command=command, exit_code=exit_code, stdout="", stderr=said, duration=0.0)

    winrm: Any = SimpleNamespace(run=run)
    files: Any = None
    return Guest(kind=kind, winrm=winrm, files=files)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (ReferenceGuest(), "start.exe /wait /unix /bin/date -u -s @1800000000.250"),
        (WindowsGuest(), "FromUnixTimeMilliseconds(1800000000250)"),
    ],
)
def test_the_guest_gets_the_hosts_time(kind: Any, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.25)
    commands: list[str] = []

    guest(kind, commands).set_clock()

    assert wanted in commands[0]


def test_a_guest_that_refuses_the_time_is_not_taken_as_it_is() -> None:
    with pytest.raises(GuestError, match="clock could not be set: not permitted"):
        guest(ReferenceGuest(), [], exit_code=1, said="not permitted").set_clock()
