"""After a guest crashed: it goes on, and what it wrote of its crash is fetched.

A Windows guest boots again first. With a Hyper-V panic device QEMU stops it before it wrote anything, so that the
bugcheck's code is known and the guest is there to be resumed; with virtio-win's pvpanic driver it is writing already.
The reference guest has written its dump when it tells the panic device, and only the process that plays Windows' kernel
is gone: its files are there as soon as the machine is resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Protocol

from harness.driver.crash import Crash
from harness.errors import DeadlineExpired, GuestError, HarnessError
from harness.guest import Guest
from harness.guest.names import local_name
from harness.guest.windows_tools import WindowsTools
from harness.hypervisor import Condition
from harness.steps import note, step
from harness.waiting import Deadline, wait_for

REFERENCE_DUMP = r"C:\wfp-hil\MEMORY.DMP"
_NMI_SECONDS = 60.0
_TOLD_SECONDS = 15.0


class Crashed(Protocol):
    """What fetching needs of the machine."""

    @property
    def resets(self) -> int: ...  # noqa: D102
    def ensure_running(self) -> None: ...  # noqa: D102


class StoppedByCrash(Crashed, Protocol):
    """A machine whose panic device may have told."""

    @property
    def condition(self) -> Condition: ...  # noqa: D102


Reach = Callable[[], AbstractContextManager[Guest]]


class Interruptible(Protocol):
    """What a crash on purpose needs of the machine."""

    @property
    def condition(self) -> Condition: ...  # noqa: D102
    def inject_nmi(self) -> None: ...  # noqa: D102


def crash_on_purpose(machine: Interruptible) -> None:
    """Have a Windows that hangs bugcheck by an NMI (NMICrashDump, which the installation sets), to have its dump.

    Comes back when a panic device told of the crash, so that the guest that it stopped can be resumed; where none does,
    after a while.
    """
    with step("send the guest an NMI", deadline=Deadline(_NMI_SECONDS)), suppress(DeadlineExpired):
        machine.inject_nmi()
        broken = (Condition.PANICKED, Condition.REBOOTED)
        wait_for(lambda: machine.condition in broken or None, Deadline(_NMI_SECONDS), "the guest to crash")


def fetch_dumps(
    machine: Crashed, reach: Reach, folder: Path, deadline: Deadline, *, told: list[Crash] | None = None
) -> list[Path]:
    """Dumps of a Windows guest, in `folder`; to `told` is added what its event log says of the crash.

    What cannot be had is a note: the crash is known without it.
    """
    fetched: list[Path] = []
    try:
        with step("let the guest write its dump, and fetch it"):
            before = machine.resets
            machine.ensure_running()
            wait_for(lambda: True if machine.resets > before else None, deadline, "the guest to boot after its dump")
            with reach() as guest:
                guest.wait_until_ready(deadline)
                tools = WindowsTools(guest)
                for remote in tools.find_dumps():
                    local = folder / local_name(remote)
                    guest.download(remote, local)
                    fetched.append(local)
                if told is not None:
                    told += _logged(tools)
    except HarnessError as error:
        note(f"No dump of the crash could be fetched: {error.message}")
    return fetched


def fetch_after_crash(
    machine: StoppedByCrash, reach: Reach, seconds: float | None, folder: Path, told: list[Crash]
) -> list[Path]:
    """The dumps of either kind of guest; `seconds`: how long Windows may take, None for the reference guest."""
    # The crash may be known by its record on the serial port, which the guest writes before its dump.
    with suppress(DeadlineExpired):
        wait_for(
            lambda: None if machine.condition is Condition.RUNNING else True,
            Deadline(_TOLD_SECONDS),
            "the panic device",
        )
    if machine.condition is not Condition.PANICKED:
        note("No dump of the crash is fetched: the machine's panic device did not tell of it.")
        return []
    if seconds is None:
        return fetch_reference_dump(machine, reach, folder)
    return fetch_dumps(machine, reach, folder, Deadline(seconds), told=told)


def fetch_reference_dump(machine: Crashed, reach: Reach, folder: Path) -> list[Path]:
    """The dump of a reference guest, in `folder`; one that cannot be had is a note."""
    local = folder / "MEMORY.DMP"
    try:
        with step("fetch the guest's dump"):
            machine.ensure_running()
            with reach() as guest:
                guest.download(REFERENCE_DUMP, local)
                guest.abandon()
    except HarnessError as error:
        note(f"No dump of the crash could be fetched: {error.message}")
        return []
    return [local]


def _logged(tools: WindowsTools) -> list[Crash]:
    """The crash as Windows' event log has it after the boot."""
    try:
        seen = tools.last_bugcheck()
    except GuestError as error:
        note(f"The event log has nothing of the crash that can be read: {error.message}")
        return []
    if seen is None:
        return []
    a, b, c, d = (*seen.parameters, 0, 0, 0, 0)[:4]
    return [Crash(code=seen.code, parameters=(a, b, c, d), source="event log")]
