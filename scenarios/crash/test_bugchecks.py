"""Crashes on purpose: each is recognised with its code, place, stack, dump and last events, or the scenario fails."""

from __future__ import annotations

import pytest

from harness.driver.crash_driver import DRIVER_NAME, REMOTE, Wish
from harness.expect import expect
from harness.wfp import status_value

# What Windows calls an exception that nobody handled depends on whose thread it was.
UNHANDLED = ("SYSTEM_THREAD_EXCEPTION_NOT_HANDLED", "SYSTEM_SERVICE_EXCEPTION", "KMODE_EXCEPTION_NOT_HANDLED")
CORRUPT_LISTS = ("BAD_POOL_CALLER", "KERNEL_SECURITY_CHECK_FAILURE", "DRIVER_VERIFIER_DETECTED_VIOLATION")


AT_LOAD = {
    Wish.POINTER: UNHANDLED,
    Wish.DISPATCH: ("DRIVER_IRQL_NOT_LESS_OR_EQUAL",),
    Wish.DOUBLE_FREE: CORRUPT_LISTS,
    Wish.BUGCHECK: ("MANUALLY_INITIATED_CRASH",),
    Wish.STACK: ("UNEXPECTED_KERNEL_MODE_TRAP",),
    Wish.WORKER: UNHANDLED,
    Wish.FASTFAIL: ("KERNEL_SECURITY_CHECK_FAILURE",),
}


@pytest.mark.parametrize("wish", AT_LOAD, ids=lambda wish: wish.name.lower())
def test_load(crashing, crash, wish):
    """A driver that crashes the machine when it is loaded is told as a crash, with its code and its place."""
    with crash.expected(*AT_LOAD[wish], module=DRIVER_NAME):
        crashing.start(wish)


def test_assertion(crashing, crash):
    """An assertion of a driver that does not hold crashes the machine, and is told apart from a bad pointer."""
    with crash.expected(*UNHANDLED, module=DRIVER_NAME) as seen:
        crashing.start(Wish.ASSERTION)

    expect(seen.crash.parameters[0] & 0xFFFFFFFF).equals(status_value("STATUS_ASSERTION_FAILURE"))


def test_unload(crashing, crash):
    """A driver that crashes the machine in its unload routine is told as a crash, with its code and its place."""
    crashing.start(Wish.UNLOAD)

    with crash.expected(*UNHANDLED, module=DRIVER_NAME):
        crashing.stop()


def test_connect(crashing, crash, probe, stations):
    """A callout that crashes the machine while it classifies a connect is told as a crash."""
    stations.add(REMOTE).tcp_listen(80)
    crashing.start(Wish.CONNECT)

    with crash.expected(*UNHANDLED, "DRIVER_IRQL_NOT_LESS_OR_EQUAL", module=DRIVER_NAME):
        probe.tcp_connect(f"{REMOTE}:80", seconds=10)


def test_receive(crashing, crash, probe, stations):
    """A callout that crashes the machine while it classifies a packet that comes in is told as a crash."""
    stations.add(REMOTE).tcp_listen(80)
    crashing.start(Wish.RECEIVE)

    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL", *UNHANDLED, module=DRIVER_NAME):
        probe.tcp_connect(f"{REMOTE}:80", seconds=10)
