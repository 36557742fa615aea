"""Driver Verifier in a Windows guest: profiles as command lines, what is set, what is active after the reboot.

Commands, boot modes and exit codes: https://learn.microsoft.com/en-us/windows-hardware/drivers/devtest/verifier-command-line
and `verifier /?`; /flags together with /faults and /driver:
https://learn.microsoft.com/en-us/windows-server/administration/windows-commands/verifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from harness.errors import DeployError, GuestError
from harness.guest import Guest
from harness.guest.windows_tools import WindowsTools
from harness.steps import note, step

# Special pool, IRQL checking, pool tracking, I/O verification, deadlock detection, DMA and security checks,
# miscellaneous checks, DDI compliance: what /standard sets, WDF verification aside.
STANDARD_FLAGS = 0x209BB
_LOW_RESOURCES = 0x4
# Without ndis.sys what NDIS allocates for a driver, its net buffer lists, is not watched:
# https://github.com/microsoft/xdp-for-windows/blob/main/tools/prepare-machine.ps1.
_WITH = ("ndis.sys",)
_FAULTS = '/faults 600 "" "" 1'  # 6 % of all allocations, of any tag, for any program, from one minute after boot on
# If Windows does not come up, verify nothing at the boot after that. Older pages and Windows have the second name.
_BOOT_MODES = ("resetonbootfail", "disableafterfail")
_DONE, _FAILED, _NEEDS_REBOOT = 0, 1, 2


class VerifierProfile(StrEnum):
    """How hard a driver is watched."""

    OFF = "off"
    STANDARD = "standard"
    LOW_RESOURCES = "low-resources"

    @property
    def flags(self) -> int:
        """The flags that have to be active."""
        return {"off": 0, "standard": STANDARD_FLAGS, "low-resources": STANDARD_FLAGS | _LOW_RESOURCES}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """What is set for the next boot."""

    flags: int
    drivers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierActivity:
    """What is verified now: flags, and how often each driver was loaded since boot."""

    flags: int
    loads: dict[str, int]


def verifier_command(profile: VerifierProfile, driver: str) -> str:
    """The command line that sets a profile for a driver's file name."""
    drivers = " ".join((driver, *_WITH))
    match profile:
        case VerifierProfile.OFF:
            return "verifier.exe /reset"
        case VerifierProfile.STANDARD:
            return f"verifier.exe /standard /driver {drivers}"
        case VerifierProfile.LOW_RESOURCES:
            return f"verifier.exe /flags {STANDARD_FLAGS:#x} {_FAULTS} /driver {drivers}"


def parse_settings(text: str) -> VerifierSettings:
    """What `verifier /querysettings` printed, read without its words: it is translated.

    Raises GuestError when there are no flags in it.
    """
    return VerifierSettings(flags=_flags(text), drivers=tuple(sorted(set(_drivers(text)))))


def parse_activity(text: str) -> VerifierActivity:
    """What `verifier /query` printed; without flags in it nothing is verified."""
    loads = {
        name.lower(): int(count)
        for name, count in re.findall(r"(\S+\.sys)\s*\([^()\d]*(\d+)[^()]*\)", text, re.IGNORECASE)
    }
    return VerifierActivity(flags=_flags(text) if loads else 0, loads=loads)


def set_verifier(guest: Guest, profile: VerifierProfile, driver: str, *, reboot: Callable[[], None]) -> bool:
    """Set a profile, reboot where that is needed, and confirm it; whether the guest was rebooted.

    `reboot` comes back when the guest answers again. confirm_active() is for the driver, once it is loaded.
    Raises DeployError when Driver Verifier does not take the profile, or the guest did not reboot.
    """
    with step("set Driver Verifier", profile=profile.value, driver=driver):
        tools = WindowsTools(guest)
        if _holds(_settings(tools), profile, driver) and _is_active(tools, profile):
            return False
        _command(tools, verifier_command(profile, driver))
        if profile is not VerifierProfile.OFF:
            _set_boot_mode(tools)
        _check_settings(tools, profile, driver)
        old = guest.boot_id()
        reboot()
        new = guest.boot_id()
        if new == old:
            raise DeployError(
                f"The guest did not reboot, so Driver Verifier '{profile.value}' is not active: "
                f"its boot id is still '{old}'."
            )
        _check_settings(tools, profile, driver)
        if not _is_active(tools, profile):
            seen = parse_activity(_query(tools))
            raise DeployError(
                f"Driver Verifier '{profile.value}' is set and not active after the reboot: "
                f"it verifies {', '.join(seen.loads) or 'nothing'} with flags {seen.flags:#x}, "
                f"wanted {profile.flags:#x}.",
                hint="A boot that failed resets it (boot mode resetonbootfail): look for a crash dump.",
            )
    return True


def confirm_active(guest: Guest, profile: VerifierProfile, driver: str) -> VerifierActivity:
    """Check that the driver is verified now that it is loaded.

    Raises DeployError.
    """
    seen = parse_activity(_query(WindowsTools(guest)))
    if profile is VerifierProfile.OFF:
        if seen.loads:
            raise DeployError(f"Driver Verifier is to be off and verifies {', '.join(seen.loads)}.")
        return seen
    if seen.flags & profile.flags != profile.flags or seen.loads.get(driver.lower(), 0) == 0:
        raise DeployError(
            f"Driver Verifier does not verify '{driver}' as '{profile.value}' asks: "
            f"flags {seen.flags:#x} (wanted {profile.flags:#x}), loaded: "
            f"{', '.join(f'{name} {count}' for name, count in seen.loads.items()) or 'nothing'}.",
        )
    return seen


def _command(tools: WindowsTools, command: str) -> int:
    """Run verifier.exe, which ends with 2 when it did what it was asked and a reboot is needed."""
    try:
        return tools.run(command, allowed=(_DONE, _NEEDS_REBOOT), doing="set Driver Verifier").exit_code
    except GuestError as error:
        raise DeployError(
            error.message,
            hint=error.hint or "'verifier /?' in the guest lists what this Windows takes.",
            command=command,
            exit_code=error.status,
            stdout=error.stdout,
            stderr=error.stderr,
        ) from error


def _set_boot_mode(tools: WindowsTools) -> None:
    for mode in _BOOT_MODES:
        command = f"verifier.exe /bootmode {mode}"
        done = tools.run(command, allowed=(_DONE, _FAILED, _NEEDS_REBOOT), doing="set Driver Verifier's boot mode")
        if done.exit_code != _FAILED:
            return
    note("Driver Verifier takes no boot mode: a driver that crashes at boot keeps this guest from coming up.")


def _check_settings(tools: WindowsTools, profile: VerifierProfile, driver: str) -> None:
    seen = _settings(tools)
    if _holds(seen, profile, driver):
        return
    has = f"it has flags {seen.flags:#x} for {', '.join(seen.drivers) or 'no driver'}"
    if profile is VerifierProfile.OFF:
        raise DeployError(f"Driver Verifier could not be switched off: {has}.")
    raise DeployError(
        f"Driver Verifier did not take the profile '{profile.value}' for '{driver}': {has}, "
        f"wanted {profile.flags:#x} for {', '.join((driver, *_WITH))}."
    )


def _holds(seen: VerifierSettings, profile: VerifierProfile, driver: str) -> bool:
    if profile is VerifierProfile.OFF:
        return not seen.drivers
    drivers = {driver.lower(), *_WITH}
    only_these = set(seen.drivers) == drivers
    return only_these and seen.flags & (STANDARD_FLAGS | _LOW_RESOURCES) == profile.flags


def _is_active(tools: WindowsTools, profile: VerifierProfile) -> bool:
    seen = parse_activity(_query(tools))
    if profile is VerifierProfile.OFF:
        return not seen.loads
    return seen.flags & (STANDARD_FLAGS | _LOW_RESOURCES) == profile.flags and all(
        seen.loads.get(name, 0) > 0 for name in _WITH
    )


def _settings(tools: WindowsTools) -> VerifierSettings:
    done = tools.run("verifier.exe /querysettings", doing="read the settings of Driver Verifier")
    return parse_settings(done.stdout)


def _query(tools: WindowsTools) -> str:
    return tools.run("verifier.exe /query", doing="ask Driver Verifier what it verifies").stdout


def _flags(text: str) -> int:
    """The first number of eight hexadecimal digits that is not one of the list of flags behind it."""
    for line in text.splitlines():
        found = re.search(r"0x([0-9a-fA-F]{8})\b", line)
        if found and "[" not in line:
            return int(found[1], 16)
    raise GuestError(
        "Driver Verifier did not say its flags.",
        hint="Its output has changed: see harness/driver/verifier.py.",
        command="verifier.exe",
        stdout=text,
    )


def _drivers(text: str) -> list[str]:
    return [name.lower() for name in re.findall(r"^\s*(\S+\.sys)\s*$", text, re.MULTILINE | re.IGNORECASE)]
