"""What broke a guest, and what an error that ended a scenario really says: crash, hang, loss, or a wrong driver."""

from __future__ import annotations

import re
from collections.abc import Callable

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
    TransportError,
    UsageError,
)
from harness.guest import ProbeClient
from harness.hypervisor import Machine
from harness.plugin.hang import Inquiry
from harness.waiting import Deadline

_ALIVE_SECONDS = 10.0
# The model's exception handler and Windows' serial debugger both say it this way: code, then four parameters.
_BUGCHECK = re.compile(r"bugcheck[^0-9a-fx]*(?:code[ =:]*)?(0x[0-9a-f]+)((?:[ ,:=(]*0x[0-9a-f]+){0,4})", re.IGNORECASE)


def find_crash(machine: Machine, serial_mark: int) -> GuestCrashed | None:
    """The crash of the guest, by its panic device or by what its serial port said behind the mark; None without one."""
    told = machine.bugcheck
    if told is not None:
        return GuestCrashed(
            f"The guest crashed: {told}.",
            code=told.code,
            parameters=told.parameters,
            hint="The dump is in the scenario's folder, if Windows could write it.",
        )
    said = machine.serial.text(serial_mark)
    found = _BUGCHECK.search(said)
    if found is None:
        return None
    numbers = [int(word, 16) for word in re.findall(r"0x[0-9a-f]+", found.group(2), re.IGNORECASE)]
    a, b, c, d = (numbers + [0] * 4)[:4]
    line = said[found.start() :].splitlines()[0]
    return GuestCrashed(
        f"The guest bugchecked: {line.strip()}",
        code=int(found.group(1), 16),
        parameters=(a, b, c, d),
        hint="serial.log in the scenario's folder has the stack.",
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
