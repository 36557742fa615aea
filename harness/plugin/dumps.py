"""After a Windows guest crashed: it goes on to write its dump, boots again, and the dump is fetched.

With a Hyper-V panic device QEMU stops the guest before it wrote anything, so that the bugcheck's code is known and the
guest is there to be resumed; with virtio-win's pvpanic driver it is writing already.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PureWindowsPath
from typing import Protocol

from harness.errors import HarnessError
from harness.guest import Guest
from harness.guest.windows_tools import WindowsTools
from harness.steps import note, step
from harness.waiting import Deadline, wait_for


class Crashed(Protocol):
    """What fetching needs of the machine."""

    @property
    def resets(self) -> int: ...  # noqa: D102
    def ensure_running(self) -> None: ...  # noqa: D102


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
                    local = folder / PureWindowsPath(remote).name
                    guest.download(remote, local)
                    fetched.append(local)
    except HarnessError as error:
        note(f"No dump of the crash could be fetched: {error.message}")
    return fetched
