"""wfpcrash.sys, the driver that crashes its machine: deployed beside the driver under test, told where, and started."""

from __future__ import annotations

from enum import IntEnum

from harness.driver.beside import deploy_beside
from harness.driver.deploy import DriverService
from harness.errors import DeployError
from harness.guest import Guest

DRIVER_NAME = "wfpcrash.sys"
REMOTE = "198.51.100.77"
"""WFPCRASH_REMOTE: whose traffic it crashes on."""


class Wish(IntEnum):
    """enum WFPCRASH of drivers/include/wfpcrash.h."""

    NONE = 0
    POINTER = 1
    DISPATCH = 2
    CONNECT = 3
    RECEIVE = 4
    DOUBLE_FREE = 5
    BUGCHECK = 6
    ASSERTION = 7
    STACK = 8
    UNLOAD = 9
    WORKER = 10
    FASTFAIL = 11


class CrashDriver:
    """The driver in a guest."""

    def __init__(self, guest: Guest, service: DriverService) -> None:
        self._guest = guest
        self._service = service

    @classmethod
    def install(cls, guest: Guest) -> CrashDriver:
        """Put it into the guest; it is not started yet."""
        return cls(guest, deploy_beside(guest, DRIVER_NAME))

    def start(self, wish: Wish) -> None:
        """Load it with this wish; with most of them the guest does not live to answer.

        Raises DeployError when the wish cannot be written, and what DriverService.start raises.
        """
        key = rf"HKLM\SYSTEM\CurrentControlSet\Services\{self._service.name}"
        done = self._guest.run(f'reg.exe add "{key}" /v Crash /t REG_DWORD /d {int(wish)} /f', skip_cmd_shell=True)
        if done.exit_code:
            raise DeployError(
                f"The wish of {DRIVER_NAME} could not be written into its service key.",
                command=done.command,
                exit_code=done.exit_code,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        self._service.start()

    def stop(self) -> None:
        """Unload it."""
        self._service.stop()
