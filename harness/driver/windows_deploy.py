"""Puts a driver package into a Windows guest, checks what Windows loaded of it, and takes it out without a trace."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import profiles_root
from harness.driver.deploy import DriverService
from harness.driver.version import read_version
from harness.driver.wfp_state import STATE_COMMAND, find_left, load_wfp_state
from harness.driver.windows_package import WindowsPackage, check_package
from harness.errors import DeployError, GuestError
from harness.guest import Guest
from harness.guest.session import WORK_FOLDER
from harness.guest.windows_tools import PRIMITIVE_DRIVERS_BUILD, WindowsTools
from harness.steps import note, step
from harness.waiting import Deadline

_PACKAGE_FOLDER = WORK_FOLDER + r"\package"
_STATE_FILE = WORK_FOLDER + r"\wfp-state.xml"
_GONE_SECONDS = 10.0
_SCRIPTS = profiles_root() / "windows" / "scripts"


@dataclass(slots=True, kw_only=True)
class InstalledDriver:
    """A driver that was installed in a Windows guest.

    `published` is the name of its INF in the driver store, None when it was made a service without a package.
    `sha256` and `version` are those of the file that was sent, `before` and `running` what WFP had then.
    """

    guest: Guest
    package: WindowsPackage
    service: DriverService
    published: str | None
    before: bytes
    sha256: str
    version: str | None
    running: bytes | None = None

    def confirm(self) -> None:
        """Check what was loaded, and remember what WFP has now that it runs."""
        self.check_loaded()
        self.running = _wfp_state(self.guest)

    def check_loaded(self) -> None:
        """Check that the file behind the running service is the one of the package, by hash, version and signature.

        Raises DeployError that names every difference.
        """
        seen = _ask(self.guest, "driver-state.ps1", {"Service": self.service.name}, doing="look at what is loaded")
        problems = []
        if not seen.get("exists"):
            problems.append("there is no such service")
        elif not seen.get("running"):
            problems.append("it does not run")
        if seen.get("exists"):
            if seen.get("sha256") != self.sha256:
                problems.append(
                    f"'{seen.get('path')}' has the SHA-256 {seen.get('sha256') or 'of no file'}, sent: {self.sha256}"
                )
            if self.version is not None and seen.get("version") != self.version:
                problems.append(f"it says version {seen.get('version')}, sent: {self.version}")
            problems += self._signature_problems(str(seen.get("signature") or ""), str(seen.get("signer") or ""))
        if problems:
            raise DeployError(
                f"What Windows has as driver '{self.service.name}' is not what was sent: {'; '.join(problems)}.",
                hint="An older copy may still be loaded: stop the driver, or start from a fresh guest.",
                command="driver-state.ps1",
                stdout=str(seen),
            )

    def _signature_problems(self, status: str, signer: str) -> list[str]:
        if not self.package.signed_here:
            # Whose root the guest does not have is not trusted and loads all the same, with test signing.
            return [f"its signature is '{status}'"] if status in {"", "NotSigned", "HashMismatch"} else []
        if status != "Valid":
            return [f"its signature is '{status or 'not there'}'"]
        if signer != self.package.thumbprint:
            return [f"it is signed by {signer}, sent: {self.package.thumbprint}"]
        return []

    def uninstall(self) -> None:
        """Stop it, take it out, and check that nothing is left.

        Raises DeployError that names what is left, or that it did not unload.
        """
        with step("uninstall the driver", driver=self.package.sys.name):
            tools = WindowsTools(self.guest)
            if self.running is None:
                self.running = _wfp_state(self.guest)
            self.service.stop()
            if self.published is not None and tools.delete_package(self.published):
                note("Windows asks for a reboot after the driver was uninstalled: it was still in use.")
            self.service.delete()  # no error where it went with its package
            self.guest.run(f'del /f /q "{_PACKAGE_FOLDER}\\{self.package.sys.name}"')
            self.check_gone()

    def check_gone(self) -> None:
        """Check that no WFP object, service, file, package or registry key of the driver is left.

        Raises DeployError that names all of it.
        """
        deadline = Deadline(_GONE_SECONDS)  # what was just deleted may go with its last handle
        left = self._find_left()
        while left and not deadline.expired:
            left = self._find_left()
        if left:
            raise DeployError(
                f"The driver '{self.service.name}' was uninstalled and left behind: {'; '.join(left)}.",
                hint="A driver that is to pass Microsoft's tests deletes its own objects, or opens a dynamic session.",
            )

    def _find_left(self) -> list[str]:
        words = {"Service": self.service.name, "File": self.package.sys.name, "Inf": self.package.inf.name}
        seen = _ask(self.guest, "driver-leftovers.ps1", words, doing="look for what is left of the driver")
        left = [f"{kind} {name}" for kind in ("services", "files", "packages", "keys") for name in _list(seen, kind)]
        if self.running is not None:
            left += [f"WFP {thing}" for thing in find_left(self.before, self.running, _wfp_state(self.guest))]
        return left


def install(guest: Guest, package: WindowsPackage, *, serial_log: Path | None = None) -> InstalledDriver:
    """Trust the certificate of a package and install it; the driver is not started yet.

    Windows before 10 1903 (Server 2019 is older) does not know drivers without a device: there it becomes a service.
    Raises DeployError, DriverPackageError.
    """
    check_package(package)
    tools = WindowsTools(guest)
    with step("install the driver package", driver=package.sys.name):
        if not tools.is_test_signing_on():
            raise DeployError(
                "This Windows was not started with test signing, so it loads no driver that was signed here.",
                hint="bcdedit /set testsigning on, and a reboot; Secure Boot has to be off.",
                command="reg.exe query SystemStartOptions",
            )
        before = _wfp_state(guest)
        for path in (package.sys, package.inf, package.cat, package.certificate):
            guest.upload(path, rf"{_PACKAGE_FOLDER}\{path.name}")
        tools.trust(rf"{_PACKAGE_FOLDER}\{package.certificate.name}")
        if not tools.is_trusted(package.thumbprint):
            raise DeployError(
                f"Windows does not have the certificate {package.thumbprint} in Root and TrustedPublisher, "
                "though certutil added it."
            )
        if tools.find_build() < PRIMITIVE_DRIVERS_BUILD:
            return _as_service(guest, package, before, serial_log, None)
        try:
            added = tools.add_package(rf"{_PACKAGE_FOLDER}\{package.inf.name}")
        except GuestError as error:
            raise DeployError(
                error.message,
                hint=error.hint or r"C:\Windows\INF\setupapi.dev.log in the guest says why.",
                command=error.command,
                exit_code=error.status,
                stdout=error.stdout,
            ) from error
        if added.reboot:
            note("Windows asks for a reboot after the driver was installed: an older one is still loaded.")
        made = _image_path(tools, package)
        if made is None:
            # This hands the INF to DiInstallDriver, which installs primitive drivers:
            # https://learn.microsoft.com/en-us/windows-hardware/drivers/develop/creating-a-primitive-driver.
            tools.install_section(rf"{_PACKAGE_FOLDER}\{package.inf.name}", "DefaultInstall.NTamd64")
            made = _image_path(tools, package)
        if made is None:
            note(f"Windows has '{package.inf.name}' as {added.published} and made no service of it: sc.exe does.")
            return _as_service(guest, package, before, serial_log, added.published)
        service = DriverService(guest=guest, name=package.service, path=made, serial_log=serial_log)
        return _made(guest, package, service, before, added.published)


def _image_path(tools: WindowsTools, package: WindowsPackage) -> str | None:
    return tools.read_registry(rf"HKLM\SYSTEM\CurrentControlSet\Services\{package.service}", "ImagePath")


def _as_service(
    guest: Guest, package: WindowsPackage, before: bytes, serial_log: Path | None, published: str | None
) -> InstalledDriver:
    path = rf"{_PACKAGE_FOLDER}\{package.sys.name}"
    service = DriverService(guest=guest, name=package.service, path=path, serial_log=serial_log)
    service.create()
    return _made(guest, package, service, before, published)


def _made(
    guest: Guest, package: WindowsPackage, service: DriverService, before: bytes, published: str | None
) -> InstalledDriver:
    version = read_version(package.sys)
    installed = InstalledDriver(
        guest=guest,
        package=package,
        service=service,
        published=published,
        before=before,
        sha256=hashlib.sha256(package.sys.read_bytes()).hexdigest(),
        version=version.file_version if version else None,
    )
    service.confirm, service.uninstall = installed.confirm, installed.uninstall
    return installed


def _ask(guest: Guest, script: str, words: dict[str, str], *, doing: str) -> dict[str, Any]:
    answer = WindowsTools(guest).run_script(_SCRIPTS / script, words, doing=doing)
    if not isinstance(answer, dict):
        raise GuestError(f"'{script}' answered with something else than an object: {answer!r}.")
    return answer


def _list(answer: dict[str, Any], key: str) -> list[str]:
    value = answer.get(key) or []
    return [str(name) for name in (value if isinstance(value, list) else [value])]


def _wfp_state(guest: Guest) -> bytes:
    WindowsTools(guest).run(STATE_COMMAND.format(_STATE_FILE), doing="read the state of WFP")
    content = guest.read(_STATE_FILE)
    load_wfp_state(content)
    return content
