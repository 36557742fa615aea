"""Windows' own programs: registry, certificates, driver packages, events, dumps, capture. Commands and their answers.

Answers are read without words that Windows translates: by exit codes, file names, numbers and XML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lxml import etree

from harness.errors import GuestError
from harness.guest.transport import CommandResult
from harness.waiting import Deadline

PRIMITIVE_DRIVERS_BUILD = 18362  # Windows 10 1903: the first that installs a driver that has no device
_PCAPNG_BUILD = 19041  # Windows 10 2004: the first whose pktmon writes what Wireshark reads
_ETL2PCAP_BUILD = 20348

CRASH_DUMP = r"C:\Windows\MEMORY.DMP"
DUMP_PATTERNS = (CRASH_DUMP, r"C:\Windows\Minidump\*.dmp", r"C:\Windows\LiveKernelReports\*.dmp")
SCRIPT_FOLDER = r"C:\wfp-hil\scripts"

# https://learn.microsoft.com/en-us/windows-hardware/drivers/devtest/pnputil-return-values; 259, ERROR_NO_MORE_ITEMS:
# the package was added and no device took it, as a driver without a device has to expect.
_PNPUTIL_DONE, _PNPUTIL_REBOOT, _PNPUTIL_NO_DEVICE = 0, 3010, 259
_INF_VALUE = re.compile(r":\s*([^\s:][^:\r\n]*?\.inf)\s*$", re.MULTILINE | re.IGNORECASE)
_VERSION_KEY = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion"
_CONTROL_KEY = r"HKLM\SYSTEM\CurrentControlSet\Control"
_SECONDS = 120.0
_EVENT = "{http://schemas.microsoft.com/win/2004/08/events/event}"
_BUGCHECK_EVENT = "*[System[Provider[@Name='Microsoft-Windows-WER-SystemErrorReporting'] and EventID=1001]]"


class Session(Protocol):
    """What is needed of a guest."""

    def run(self, command: str, *, deadline: Deadline | None = None, skip_cmd_shell: bool = False) -> CommandResult:
        """Run a command line to its end, whatever its exit code."""

    def upload(self, local: Path, remote: str) -> str:
        """Copy a file into the guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePackage:
    """A driver package in the driver store: `published` is oemN.inf, `original` the name it came with."""

    published: str
    original: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPackage:
    """What pnputil did: the name it gave the INF, and whether Windows asks for a reboot."""

    published: str
    reboot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bugcheck:
    """The last crash that Windows told of after its reboot."""

    code: int
    parameters: tuple[int, ...]
    dump: str


class WindowsTools:
    """The programs of a Windows guest."""

    def __init__(self, guest: Session) -> None:
        self._guest = guest

    def run(
        self, command: str, *, allowed: Sequence[int] = (0,), doing: str, seconds: float = _SECONDS
    ) -> CommandResult:
        """Run a program of Windows.

        Raises GuestError that says what was being done when it ends with another code than those allowed.
        """
        done = self._guest.run(command, deadline=Deadline(seconds))
        if done.exit_code not in allowed:
            said = _last_line(done.stdout) or _last_line(done.stderr) or "it printed nothing"
            raise GuestError(
                f"Windows could not {doing}: '{command}' ended with {_code(done.exit_code)}: {said}",
                hint="The account in the guest has to be an administrator." if done.exit_code == 5 else None,
                command=command,
                exit_code=done.exit_code,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        return done

    def run_script(self, script: Path, arguments: Mapping[str, str], *, doing: str) -> Any:
        """Run a PowerShell script that answers with JSON on one line, and give back what it says.

        Raises GuestError.
        """
        remote = rf"{SCRIPT_FOLDER}\{script.name}"
        self._guest.upload(script, remote)
        words = " ".join(f'-{name} "{value}"' for name, value in arguments.items())
        command = f'powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{remote}" {words}'
        done = self.run(command, doing=doing)
        for line in reversed(done.stdout.splitlines()):
            if line.startswith("{"):
                try:
                    return json.loads(line)
                except ValueError:
                    break
        raise GuestError(
            f"'{script.name}' did not answer with JSON: {_last_line(done.stdout) or 'it printed nothing'}",
            command=command,
            exit_code=done.exit_code,
            stdout=done.stdout,
            stderr=done.stderr,
        )

    def read_registry(self, key: str, name: str) -> str | None:
        """A value of the registry as reg.exe shows it; None where there is none."""
        done = self.run(f'reg.exe query "{key}" /v "{name}"', allowed=(0, 1), doing=f"read '{key}' of the registry")
        found = re.search(rf"^\s+{re.escape(name)}\s+REG_\w+\s*(.*?)\s*$", done.stdout, re.MULTILINE | re.IGNORECASE)
        return found[1] if done.exit_code == 0 and found else None

    def find_build(self) -> int:
        """The build number.

        Raises GuestError when Windows does not say it.
        """
        text = self.read_registry(_VERSION_KEY, "CurrentBuildNumber")
        if text is None or not text.isdigit():
            raise GuestError(f"Windows does not say its build number: '{_VERSION_KEY}' has '{text}'.")
        return int(text)

    def is_test_signing_on(self) -> bool:
        """Whether the kernel that runs takes test-signed drivers; not what is set for the next boot."""
        return "TESTSIGNING" in (self.read_registry(_CONTROL_KEY, "SystemStartOptions") or "").upper().split()

    def set_boot_option(self, name: str, value: str) -> None:
        """Change an option of the next boot, by bcdedit."""
        self.run(f"bcdedit.exe /set {{current}} {name} {value}", doing=f"set the boot option '{name}'")

    # Certificates.

    def trust(self, certificate: str) -> None:
        """Put a certificate (a .cer in the guest) into the stores by which Windows trusts a driver's publisher."""
        for store in ("Root", "TrustedPublisher"):
            self.run(f'certutil.exe -f -addstore {store} "{certificate}"', doing=f"trust the certificate in {store}")

    def is_trusted(self, thumbprint: str) -> bool:
        """Whether both stores have the certificate of this SHA-1."""
        return all(
            self._guest.run(f"certutil.exe -store {store} {thumbprint}", deadline=Deadline(_SECONDS)).exit_code == 0
            for store in ("Root", "TrustedPublisher")
        )

    def distrust(self, thumbprint: str) -> None:
        """Take the certificate out of both stores; one that is in neither is no error."""
        for store in ("Root", "TrustedPublisher"):
            self._guest.run(f"certutil.exe -delstore {store} {thumbprint}", deadline=Deadline(_SECONDS))

    # Driver packages.

    def add_package(self, inf: str) -> AddedPackage:
        """Put a package into the driver store and install it.

        Raises GuestError when Windows refuses it, or does not say under which name it has it.
        """
        done = self.run(
            f'pnputil.exe /add-driver "{inf}" /install',
            allowed=(_PNPUTIL_DONE, _PNPUTIL_REBOOT, _PNPUTIL_NO_DEVICE),
            doing=f"install the driver package '{inf}'",
        )
        names = [name.lower() for name in re.findall(r"\boem\d+\.inf\b", done.stdout, re.IGNORECASE)]
        original = inf.rpartition("\\")[2].lower()
        if not names:
            names = [package.published for package in self.list_packages() if package.original == original]
        if not names:
            raise GuestError(
                f"pnputil did not say under which name it keeps '{inf}', and the driver store has no '{original}'.",
                command=done.command,
                exit_code=done.exit_code,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        return AddedPackage(published=names[-1], reboot=done.exit_code == _PNPUTIL_REBOOT)

    def install_section(self, inf: str, section: str) -> None:
        """Install a section of an INF by setupapi; whether it did shows only in what is there afterwards.

        132: from the folder of the INF, and no reboot, as
        https://learn.microsoft.com/en-us/windows/win32/api/setupapi/nf-setupapi-installhinfsectionw has it.
        """
        command = f"rundll32.exe setupapi.dll,InstallHinfSection {section} 132 {inf}"
        self.run(command, doing=f"install '{section}' of '{inf}'")

    def delete_package(self, published: str) -> bool:
        """Uninstall a package and take it out of the driver store; whether Windows asks for a reboot."""
        done = self.run(
            f"pnputil.exe /delete-driver {published} /uninstall",
            allowed=(_PNPUTIL_DONE, _PNPUTIL_REBOOT),
            doing=f"uninstall the driver package '{published}'",
        )
        return done.exit_code == _PNPUTIL_REBOOT

    def list_packages(self) -> list[StorePackage]:
        """The packages in the driver store that did not come with Windows."""
        done = self.run("pnputil.exe /enum-drivers", allowed=(0, _PNPUTIL_NO_DEVICE), doing="list the driver packages")
        found = []
        for block in re.split(r"\r?\n\s*\r?\n", done.stdout):
            names = [name.lower() for name in _INF_VALUE.findall(block)]
            published = next((name for name in names if re.fullmatch(r"oem\d+\.inf", name)), None)
            if published is not None:
                original = next((name for name in names if name != published), "")
                found.append(StorePackage(published=published, original=original))
        return found

    # After a crash.

    def find_dumps(self) -> list[str]:
        """Paths of all crash dumps."""
        found = []
        for pattern in DUMP_PATTERNS:
            folder = pattern.rpartition("\\")[0]
            done = self._guest.run(f'dir /b /a-d "{pattern}"', deadline=Deadline(_SECONDS))
            if done.exit_code == 0:
                found += [rf"{folder}\{name.strip()}" for name in done.stdout.splitlines() if name.strip()]
        return found

    def last_bugcheck(self) -> Bugcheck | None:
        """The newest crash in the event log; None where there was none. Windows writes it after the reboot."""
        done = self.run(
            f'wevtutil.exe qe System /q:"{_BUGCHECK_EVENT}" /f:xml /c:1 /rd:true', doing="read the event log"
        )
        text = done.stdout.strip()
        if not text:
            return None
        try:
            data = etree.fromstring(text.encode()).findall(f"{_EVENT}EventData/{_EVENT}Data")
        except etree.XMLSyntaxError as error:
            raise GuestError(f"The event of the crash cannot be read: {error}.", stdout=done.stdout) from error
        values = [element.text or "" for element in data]
        numbers = [int(number, 16) for number in re.findall(r"0x([0-9a-fA-F]+)", values[0] if values else "")]
        if not numbers:
            raise GuestError(f"The event of the crash has no bugcheck code: {values}.", stdout=done.stdout)
        return Bugcheck(code=numbers[0], parameters=tuple(numbers[1:5]), dump=values[1] if len(values) > 1 else "")

    def export_events(self, log: str, target: str) -> None:
        """Write an event log to an .evtx file in the guest."""
        self.run(f'wevtutil.exe epl "{log}" "{target}" /ow:true', doing=f"export the event log '{log}'")

    # Capture inside the guest.

    def start_capture(self, target: str) -> None:
        """Have pktmon record whole packets at every component of the network stack, dropped ones too.

        Raises GuestError on a Windows whose pktmon cannot write what Wireshark reads.
        """
        build = self.find_build()
        if build < _PCAPNG_BUILD:
            raise GuestError(
                f"pktmon of Windows build {build} writes nothing that Wireshark reads.",
                hint=f"It does from build {_PCAPNG_BUILD} on; the host's capture is there in any case.",
            )
        self.run(f'pktmon.exe start --capture --pkt-size 0 --file-name "{target}"', doing="start a capture")

    def stop_capture(self, source: str, target: str) -> None:
        """End the capture and turn its file into pcapng."""
        self.run("pktmon.exe stop", doing="stop the capture")
        verb = "etl2pcap" if self.find_build() >= _ETL2PCAP_BUILD else "pcapng"
        self.run(f'pktmon.exe {verb} "{source}" --out "{target}"', doing="convert the capture")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _code(exit_code: int) -> str:
    return str(exit_code) if 0 <= exit_code < 0x10000 else f"{exit_code & 0xFFFFFFFF:#010x}"
