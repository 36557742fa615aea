"""The driver that crashes on purpose, beside the driver under test."""

from __future__ import annotations

import pytest

from harness.driver.crash_driver import CrashDriver
from harness.guest import Guest


@pytest.fixture
def crashing(guest: Guest) -> CrashDriver:
    """Put wfpcrash.sys into the guest; start(Wish.POINTER) loads it."""
    return CrashDriver.install(guest)
