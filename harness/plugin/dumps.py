"""After a Windows guest crashed: it goes on to write its dump, boots again, and the dump is fetched.

With a Hyper-V panic device QEMU stops the guest before it wrote anything, so that the bugcheck's code is known and the
guest is there to be resumed; with virtio-win's pvpanic driver it is writing already.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Protocol

from harness.errors import DeadlineExpired, HarnessError
from harness.guest import Guest
from harness.guest.names import local_name
from harness.guest.windows_tools import WindowsTools
from harness.hypervisor import Condition
from harness.steps import note, step
from harness.waiting import Deadline, wait_for

_NMI_SECONDS = 60.0


class Crashed(Protocol):
    """What fetching needs of the machine."""

    @property
    def resets(self) -> int: ...  # noqa: D102
    def ensure_running(self) -> None: ...  # noqa: D102


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
    machine: Crashed, reach: Callable[[], AbstractContextManager[Guest]], folder: Path, deadline: Deadline
) -> list[Path]:
    """Dumps and the log of the system, in `folder`. What cannot be had is a note: the crash is known without it."""
    fetched: list[Path] = []
    try:
        with step("let the guest write its dump, and fetch it"):
            before = machine.resets
            machine.ensure_running()
            wait_for(lambda: True if machine.resets > before else None, deadline, "the guest to boot after its dump")
            with reach() as guest:
                guest.wait_until_ready(deadline)
                for remote in WindowsTools(guest).find_dumps():
                    local = folder / local_name(remote)
                    guest.download(remote, local)
                    fetched.append(local)
    except HarnessError as error:
        note(f"No dump of the crash could be fetched: {error.message}")
    return fetched
