"""Puts a driver into the guest, starts and stops its service: by sc.exe over WinRM, or quickly by the probe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.driver.build import certificate_folder
from harness.driver.package import DriverPackage
from harness.driver.sign import make_certificate, sign
from harness.errors import DeployError, DriverStartError
from harness.guest import CommandResult, Guest, ProbeError
from harness.guest.session import WORK_FOLDER
from harness.ownership import temporary_folder
from harness.steps import note, step
from harness.waiting import Deadline, NotYet, wait_for
from harness.wfp import status_name

# The group that Windows' own network filter drivers use. On the reference guest it also decides which winedevice
# process hosts the driver: Wine puts kernel drivers of one group into one process, and the engine is of this group.
_LOAD_ORDER_GROUP = "NetworkProvider"
_SC_SECONDS = 60.0
_STATE_SECONDS = 30.0

NO_SUCH_SERVICE = 1060
ALREADY_RUNNING = 1056
NOT_RUNNING = 1062
MARKED_FOR_DELETE = 1072
ALREADY_EXISTS = 1073
_ACCESS_DENIED = 5

# What the service manager makes of an NTSTATUS of DriverEntry (RtlNtStatusToDosError); where several become the same
# number, the one that a DriverEntry returns most.
_STATUS_OF_WIN32 = {
    2: 0xC0000034,  # STATUS_OBJECT_NAME_NOT_FOUND
    5: 0xC0000022,  # STATUS_ACCESS_DENIED
    31: 0xC0000001,  # STATUS_UNSUCCESSFUL
    50: 0xC00000BB,  # STATUS_NOT_SUPPORTED
    87: 0xC000000D,  # STATUS_INVALID_PARAMETER
    127: 0xC0000139,  # STATUS_ENTRYPOINT_NOT_FOUND
    183: 0xC0000035,  # STATUS_OBJECT_NAME_COLLISION
    193: 0xC000007B,  # STATUS_INVALID_IMAGE_FORMAT
    577: 0xC0000428,  # STATUS_INVALID_IMAGE_HASH: the signature
    1275: 0xC000036C,  # STATUS_DRIVER_BLOCKED
    1450: 0xC000009A,  # STATUS_INSUFFICIENT_RESOURCES
}
_HINTS = {
    127: "The guest lacks a function that the driver imports.",
    577: "Windows wants test-signing switched on: bcdedit /set testsigning on, and Secure Boot off.",
    1058: "The service is disabled.",
}
# Wine's ntoskrnl says what DriverEntry returned on its error channel, which goes to the serial log.
_WINE_SAYS = re.compile(r"failed to (?:create|load) driver .*?: ([0-9a-fA-F]{8})\b")


class ServiceState(StrEnum):
    """State of a service, as the service manager names it."""

    STOPPED = "STOPPED"
    START_PENDING = "START_PENDING"
    STOP_PENDING = "STOP_PENDING"
    RUNNING = "RUNNING"
    ABSENT = "ABSENT"


_STATES = {
    1: ServiceState.STOPPED,
    2: ServiceState.START_PENDING,
    3: ServiceState.STOP_PENDING,
    4: ServiceState.RUNNING,
}


@dataclass(slots=True)
class DriverService:
    """The service of a driver in a guest; `quick` goes through the running probe instead of sc.exe.

    `confirm` is called once, after the first start: it checks that what runs is what was sent. `uninstall` is how a
    package is taken out again; without it there is only the service.
    """

    guest: Guest
    name: str
    path: str
    quick: bool = False
    serial_log: Path | None = None
    confirm: Callable[[], None] | None = None
    uninstall: Callable[[], None] | None = None

    def create(self) -> None:
        """Make the service; one of that name with the same path is kept.

        Raises DeployError.
        """
        code, said, _ = self._act("create")
        if code not in (0, ALREADY_EXISTS):
            raise self._refused("created", code, said)

    def start(self) -> None:
        """Load the driver; comes back when it runs.

        Raises DriverStartError with the NTSTATUS of DriverEntry, where that is known.
        """
        mark = self._serial_size()
        with step("start the driver", service=self.name):
            code, said, state = self._act("start")
            if code not in (0, ALREADY_RUNNING):
                raise self._not_started(code, said, mark)
            state = self._settled(state, ServiceState.START_PENDING)
            if state is not ServiceState.RUNNING:
                raise self._not_started(0, f"the service is {state}", mark)
            confirm, self.confirm = self.confirm, None
            if confirm is not None:
                confirm()

    def stop(self) -> bool:
        """Unload the driver; comes back when it is unloaded. False for one that did not run, which is no error.

        Raises DeployError when the driver does not unload.
        """
        with step("stop the driver", service=self.name):
            code, said, state = self._act("stop")
            if code in (NOT_RUNNING, NO_SUCH_SERVICE):
                return False
            if code != 0:
                raise self._refused("stopped", code, said)
            state = self._settled(state, ServiceState.STOP_PENDING, ServiceState.RUNNING)
            if state not in (ServiceState.STOPPED, ServiceState.ABSENT):
                raise DeployError(f"The driver '{self.name}' did not unload: its service is {state}.")
            return True

    def delete(self) -> None:
        """Delete the service; one that does not exist, or goes with its last handle, is no error."""
        code, said, _ = self._act("delete")
        if code not in (0, NO_SUCH_SERVICE, MARKED_FOR_DELETE):
            raise self._refused("deleted", code, said)

    def remove(self) -> None:
        """Unload the driver and take it out of the guest.

        Raises DeployError; on Windows also when something of the driver is left behind.
        """
        if self.uninstall is not None:
            self.uninstall()
        else:
            self.stop()
            self.delete()

    def state(self) -> ServiceState:
        """The state now."""
        if self.quick:
            try:
                reply = self.guest.probe().request("service", action="query", name=self.name)
            except ProbeError as error:
                if error.code == NO_SUCH_SERVICE:
                    return ServiceState.ABSENT
                raise
            return _state_in(reply)
        done = self._sc(f"query {self.name}")
        if _error_of(done) == NO_SUCH_SERVICE:
            return ServiceState.ABSENT
        found = re.search(r"STATE\s*:\s*(\d)", done.stdout)
        if found is None:
            raise DeployError(
                f"sc.exe did not say in which state '{self.name}' is.",
                command=done.command,
                exit_code=done.exit_code,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        return _STATES.get(int(found.group(1)), ServiceState.STOPPED)

    def _act(self, action: str) -> tuple[int, str, ServiceState | None]:
        """Win32 error (0: done), what was said, and the state behind it where it is known."""
        if self.quick:
            path = self.path if action == "create" else None
            try:
                reply = self.guest.probe().request(
                    "service", seconds=_SC_SECONDS, action=action, name=self.name, path=path
                )
            except ProbeError as error:
                return error.code or 1, error.message, None
            return 0, "", _state_in(reply) if "state" in reply else None
        words = f"{action} {self.name}"
        if action == "create":
            words += f' binPath= "{self.path}" type= kernel start= demand group= {_LOAD_ORDER_GROUP}'
        done = self._sc(words)
        return _error_of(done), (done.stdout.strip() or done.stderr.strip()), None

    def _sc(self, words: str) -> CommandResult:
        return self.guest.run(f"sc.exe {words}", deadline=Deadline(_SC_SECONDS), skip_cmd_shell=True)

    def _settled(self, known: ServiceState | None, *passing: ServiceState) -> ServiceState:
        if known is not None and known not in passing:
            return known

        def check() -> ServiceState:
            state = self.state()
            if state in passing:
                raise NotYet(state)
            return state

        return wait_for(check, Deadline(_STATE_SECONDS), f"the service '{self.name}' to settle", interval=0.05)

    def _refused(self, done: str, code: int, said: str) -> DeployError:
        hint = "The account in the guest has to be an administrator." if code == _ACCESS_DENIED else _HINTS.get(code)
        return DeployError(
            f"The service '{self.name}' could not be {done}: error {code}.", hint=hint, exit_code=code, stdout=said
        )

    def _not_started(self, code: int, said: str, mark: int) -> DriverStartError:
        exact = self._status_on_serial(mark)
        status = exact if exact is not None else _STATUS_OF_WIN32.get(code)
        if status is None:
            what = f"service error {code}" if code else said
        elif exact is not None:
            what = f"DriverEntry returned {status_name(status)} ({status:#010x})"
        else:
            what = f"service error {code}, which stands for {status_name(status)} ({status:#010x})"
        return DriverStartError(
            f"The driver '{self.name}' did not start: {what}.",
            ntstatus=status,
            hint=_HINTS.get(code) or "The serial log in the folder of results may say why.",
            command=f"sc.exe start {self.name}",
        )

    def _serial_size(self) -> int:
        return self.serial_log.stat().st_size if self.serial_log is not None and self.serial_log.exists() else 0

    def _status_on_serial(self, mark: int) -> int | None:
        if self.serial_log is None or not self.serial_log.exists():
            return None
        with self.serial_log.open("rb") as log:
            log.seek(mark)
            found = _WINE_SAYS.findall(log.read().decode(errors="replace"))
        return int(found[-1], 16) if found else None


def deploy(
    guest: Guest, package: DriverPackage, *, quick: bool = False, serial_log: Path | None = None
) -> DriverService:
    r"""Upload a driver to C:\wfp-hil and make its service, `quick` by the running probe; it is not started yet.

    Raises DeployError, TransportError.
    """
    with step("deploy the driver", driver=package.path.name):
        if guest.kind.name == "windows":
            service = _deploy_package(guest, package, serial_log)
            service.quick = quick
            return service
        remote = rf"{WORK_FOLDER}\{package.service}.sys"
        with _signed(package) as local:
            guest.upload(local, remote)
        service = DriverService(guest, package.service, remote, quick=quick, serial_log=serial_log)
        service.create()
    return service


def _deploy_package(guest: Guest, package: DriverPackage, serial_log: Path | None) -> DriverService:
    """Windows installs packages: made here, with the INF beside the driver if there is one; checked once it runs."""
    from harness.driver.windows_deploy import install  # it is built on DriverService
    from harness.driver.windows_package import make_package

    with temporary_folder("package") as folder:
        signer = make_certificate(certificate_folder())
        inf = package.path.with_suffix(".inf")
        made = make_package(package.path, folder / package.service, signer=signer, inf=inf if inf.is_file() else None)
        return install(guest, made, serial_log=serial_log).service


@contextmanager
def _signed(package: DriverPackage) -> Iterator[Path]:
    """The driver's file, or a test-signed copy where it has no signature: Windows loads no driver without one."""
    if package.is_signed:
        yield package.path
        return
    note(f"'{package.path.name}' is not signed: a copy signed with this checkout's test certificate is deployed.")
    with temporary_folder("signed") as folder:
        yield sign(package.path, folder / package.path.name, make_certificate(certificate_folder()))


def _state_in(reply: dict[str, Any]) -> ServiceState:
    state = reply["state"]
    return _STATES[state] if isinstance(state, int) else ServiceState(str(state).upper())


def _error_of(done: CommandResult) -> int:
    """The Win32 error of sc.exe: its exit code, or the number it printed where Wine's ends with 1."""
    if done.exit_code == 0:
        return 0
    printed = re.search(r"(?:FAILED|[Ee]rror)\D{0,3}(\d+)", done.stdout + done.stderr)
    return int(printed.group(1)) if printed else done.exit_code
