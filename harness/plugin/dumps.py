"""After a guest crashed: it goes on, and what it wrote of its crash is fetched.

A Windows guest boots again first. With a Hyper-V panic device QEMU stops it before it wrote anything, so that the
bugcheck's code is known and the guest is there to be resumed; with virtio-win's pvpanic driver it is writing already.
The reference guest has written its dump when it tells the panic device, and only the process that plays Windows' kernel
is gone: its files are there as soon as the machine is resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PureWindowsPath
from typing import Protocol

from harness.driver.crash import Crash
from harness.errors import GuestError, HarnessError
from harness.guest import Guest
from harness.guest.windows_tools import WindowsTools
from harness.steps import note, step
from harness.waiting import Deadline, wait_for

REFERENCE_DUMP = r"C:\wfp-hil\MEMORY.DMP"


class Crashed(Protocol):
    """What fetching needs of the machine."""

    @property
    def resets(self) -> int: ...  # noqa: D102
    def ensure_running(self) -> None: ...  # noqa: D102


Reach = Callable[[], AbstractContextManager[Guest]]


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
                    local = folder / PureWindowsPath(remote).name
                    guest.download(remote, local)
                    fetched.append(local)
                if told is not None:
                    told += _logged(tools)
    except HarnessError as error:
        note(f"No dump of the crash could be fetched: {error.message}")
    return fetched


def fetch_reference_dump(machine: Crashed, reach: Reach, folder: Path) -> list[Path]:
    """The dump of a reference guest, in `folder`; one that cannot be had is a note."""
    local = folder / PureWindowsPath(REFERENCE_DUMP).name
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
