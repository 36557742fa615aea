"""The six outcomes of a scenario, and the exit code of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import pytest

from harness.errors import DriverStartError, GuestCrashed, GuestHung, UsageError

_TIMEOUT = re.compile(r"Timeout \(>[0-9.]+s\) from pytest-timeout")


class Outcome(StrEnum):
    """What a scenario came to; only FAIL, CRASH and HANG speak about the driver."""

    PASS = "PASS"  # noqa: S105 - not a password
    FAIL = "FAIL"
    CRASH = "CRASH"
    HANG = "HANG"
    LOST = "LOST"
    SKIP = "SKIP"

    @property
    def blames_driver(self) -> bool:
        """Whether the driver is at fault."""
        return self in (Outcome.FAIL, Outcome.CRASH, Outcome.HANG)


def outcome_of(error: BaseException) -> Outcome:
    """What a scenario that ended with this error came to."""
    if isinstance(error, GuestCrashed):
        return Outcome.CRASH
    if isinstance(error, GuestHung):
        return Outcome.HANG
    if isinstance(error, pytest.fail.Exception):  # of pytest.fail and pytest.raises; of pytest-timeout, too
        return Outcome.HANG if _TIMEOUT.match(str(error)) else Outcome.FAIL
    if isinstance(error, (AssertionError, DriverStartError)):
        return Outcome.FAIL
    return Outcome.LOST


def exit_code(outcomes: Iterable[Outcome], errors: Iterable[BaseException] = ()) -> int:
    """0 all passed, 1 the driver failed, 2 usage, 3 host or infrastructure; the first that holds of 1, 2, 3."""
    seen = set(outcomes)
    if any(outcome.blames_driver for outcome in seen):
        return 1
    if any(isinstance(error, UsageError) for error in errors):
        return 2
    return 3 if Outcome.LOST in seen else 0
