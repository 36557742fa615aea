"""What broke a guest, and what an error that ended a scenario really says: crash, hang, loss, or a wrong driver."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.config import project_root
from harness.driver import find_built
from harness.driver.crash import Crash, CrashSeen, Namer, find_record
from harness.driver.symbols import ModuleNames
from harness.errors import (
    DeadlineExpired,
    DeployError,
    ExpectationFailed,
    GuestCrashed,
    GuestError,
    GuestHung,
    HarnessError,
    HostError,
    MachineError,
    MachineLost,
    TransportError,
    UsageError,
)
from harness.guest import ProbeClient
from harness.hypervisor import Condition, Machine
from harness.plugin.hang import Inquiry
from harness.waiting import Deadline, wait_for

_ALIVE_SECONDS = 10.0
_RECORD_SECONDS = 5.0
_HINT = "crash.json in the scenario's folder has all that is known of it, serial.log what the guest said."
_WINE_ASSERTION = re.compile(r"^wineserver(?:64)?: .{1,300}Assertion .{1,300} failed\.", re.MULTILINE)
# Without a record: Windows' serial debugger says it this way, code, then four parameters.
_BUGCHECK = re.compile(r"bugcheck[^0-9a-fx]*(?:code[ =:]*)?(0x[0-9a-f]+)((?:[ ,:=(]*0x[0-9a-f]+){0,4})", re.IGNORECASE)


def find_crash(machine: Machine, serial_mark: int, *, windows: bool, name: Namer | None = None) -> CrashSeen | None:
    """The crash of the guest, by its panic device or by what its serial port said behind the mark; None without one."""
    said = machine.serial.text(serial_mark)
    crash = find_record(said)
    if crash is None and machine.bugcheck is not None:
        crash = Crash(code=machine.bugcheck.code, parameters=machine.bugcheck.parameters, source="panic device")
    if crash is None and machine.condition is Condition.PANICKED:
        crash = Crash(code=0, source="panic device") if windows else _late_record(machine, serial_mark)
    if crash is None:
        crash = _in_words(said)
    return CrashSeen(crash, name=name, hint=_HINT) if crash is not None else None


def find_ended_wine(machine: Machine, serial_mark: int) -> MachineLost | None:
    """Of the reference guest: the end of the server behind all of Wine, by its own last words; None while it lives.

    Nothing that runs in Wine goes on then, the driver's process neither, so that it would look like a hang.
    """
    found = _WINE_ASSERTION.search(machine.serial.text(serial_mark))
    if found is None:
        return None
    return MachineLost(
        f"The server behind all of the guest's Wine has ended: {found[0].strip()} No driver does that.",
        hint="It is a fault of Wine itself: the same scenario on another machine gets past it.",
    )


def diagnose(
    error: BaseException, *, check: Callable[[], None], probe: Callable[[], ProbeClient], inquiry: Inquiry
) -> BaseException:
    """What an error that ended a scenario really says; `check` raises what broke the guest, if something did."""
    if not isinstance(error, HarnessError) or isinstance(error, (GuestCrashed, UsageError, HostError)):
        return error
    try:
        check()
    except HarnessError as cause:
        return cause
    if isinstance(error, (GuestHung, MachineError)):
        return inquiry.of_hang(error) if isinstance(error, GuestHung) else error
    try:
        probe().start("hello").reply(Deadline(_ALIVE_SECONDS))
    except (TransportError, DeadlineExpired, GuestError) as silent:
        return inquiry.of_silence(error.message, silent.message)
    if isinstance(error, TransportError):
        return error
    # Reachable, and yet a wait was in vain: it may be the driver that does not come back.
    return (inquiry.of_delay(error) if _was_late(error) else None) or ExpectationFailed(str(error))


def _was_late(error: HarnessError) -> bool:
    return isinstance(error, (DeadlineExpired, DeployError)) or (
        isinstance(error, GuestError) and " did not end within " in error.message
    )


def names_of(driver: Path | None) -> ModuleNames:
    """Function and line of places: in the driver under test, our own drivers, the model of the reference guest."""

    def find(module: str) -> Path | None:
        if driver is not None and driver.name.lower() == module:
            return driver
        model = project_root() / "vm-images" / "reference" / "model" / "build" / module
        return find_built(module) or (model if model.is_file() else None)

    return ModuleNames(find)


def _late_record(machine: Machine, mark: int) -> Crash | None:
    """The device tells at once; what the guest wrote before it comes by way of a log. None: Linux itself panicked."""
    with suppress(DeadlineExpired):
        return wait_for(
            lambda: find_record(machine.serial.text(mark)), Deadline(_RECORD_SECONDS), "the bugcheck's record"
        )
    return None


def _in_words(said: str) -> Crash | None:
    found = _BUGCHECK.search(said)
    if found is None:
        return None
    numbers = [int(word, 16) for word in re.findall(r"0x[0-9a-f]+", found.group(2), re.IGNORECASE)]
    a, b, c, d = (numbers + [0] * 4)[:4]
    return Crash(code=int(found.group(1), 16), parameters=(a, b, c, d), source="serial port")
