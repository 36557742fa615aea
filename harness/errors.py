"""Every exception the harness raises, split by whose fault it is.

    Exception
      HarnessError               message + optional hint; `exit_code` is what the command line ends with
        UsageError               the command line, profile or scenario is wrong            exit 2
          ConfigError            a TOML file: names the file and the key
          DriverPackageError     the .sys/.inf that was handed in cannot be used
        HostError                this host lacks something (tool, permission, disk)        exit 3
          ImageBuildError        an image could not be built
          DriverBuildError       a build of our own driver, probe or model failed
          SigningError           test-signing failed
          LinkError              the L2 path to a test NIC broke
        MachineError             libvirt or QEMU refused                                   exit 3
          MachineLost            the guest stopped answering, or QEMU died                 outcome LOST
        TransportError           WinRM or SFTP could not be reached or broke               exit 3
          AuthenticationFailed   it answered and said no
        GuestError               a command inside the guest failed (exit code, streams)    exit 3
          DeployError            the driver could not be put into place
            DriverStartError     DriverEntry or the service start failed: NTSTATUS by name exit 1
        GuestCrashed             bugcheck                                                  outcome CRASH, exit 1
        GuestHung                no progress                                               outcome HANG, exit 1
        DeadlineExpired          a wait ran out; carries what was last seen                exit 3
    AssertionError
      ExpectationFailed          the driver behaved wrongly                                outcome FAIL, exit 1

Only ExpectationFailed, GuestCrashed, GuestHung and DriverStartError speak about the driver.
Library code raises; only `harness.cli` turns an error into text and an exit code.
"""

from __future__ import annotations

import time
from typing import ClassVar


class HarnessError(Exception):
    """Root of all errors that the harness foresees; `message` is a whole sentence, `hint` says what to do."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} Hint: {self.hint}"


class UsageError(HarnessError):
    """The command line, a profile or a scenario asks for something that does not exist or makes no sense."""

    exit_code = 2


class ConfigError(UsageError):
    """A TOML file is missing, malformed, or has a key or value that is not allowed."""


class CaptureError(UsageError):
    """A capture file cannot be read, holds nothing that can be used, or more than is taken at a time."""


class DriverPackageError(UsageError):
    """A driver file that was handed in is not a PE, not x64, or imports what the guest lacks."""


class HostError(HarnessError):
    """This host lacks a tool, a permission or room."""


class ImageBuildError(HostError):
    """An image could not be built; nothing half-built is left behind."""


class DriverBuildError(HostError):
    """The compiler or linker refused a driver, the probe or the model."""


class SigningError(HostError):
    """A file could not be test-signed or its signature does not verify."""


class LinkError(HostError):
    """The path that carries Ethernet frames to a test NIC could not be opened, or broke."""


class MachineError(HarnessError):
    """libvirt or QEMU refused what was asked of it."""


class MachineLost(MachineError):
    """The guest stopped answering, rebooted by itself, or its QEMU process died."""


class TransportError(HarnessError):
    """WinRM or SFTP could not be reached, or broke in the middle."""


class AuthenticationFailed(TransportError):
    """The guest answered and refused the user, the password or the key."""


class GuestError(HarnessError):
    """A command inside the guest failed.

    `command` is what was run, `exit_code` what it ended with (None when it did not end), `stdout` and
    `stderr` what it printed.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        command: str = "",
        exit_code: int | None = None,
        stdout: str = "",
        stderr: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.command = command
        self.status = exit_code
        self.stdout = stdout
        self.stderr = stderr


class DeployError(GuestError):
    """The driver could not be put into place in the guest."""


class DriverStartError(DeployError):
    """The service of the driver did not start; `ntstatus` is what DriverEntry returned where it is known."""

    exit_code = 1

    def __init__(
        self, message: str, *, ntstatus: int | None = None, hint: str | None = None, command: str = ""
    ) -> None:
        super().__init__(message, hint=hint, command=command)
        self.ntstatus = ntstatus


class GuestCrashed(HarnessError):
    """The guest bugchecked: `code` and its four `parameters`, unsigned."""

    exit_code = 1

    def __init__(
        self, message: str, *, code: int, parameters: tuple[int, int, int, int] = (0, 0, 0, 0), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.parameters = parameters


class GuestHung(HarnessError):
    """Nothing made progress within the budget of the step."""

    exit_code = 1


class DeadlineExpired(HarnessError):
    """A wait ran out of time; the message holds what was last seen."""


class ExpectationFailed(AssertionError):
    """What the driver did is not what the scenario wanted; `moment` is when that was found, in monotonic seconds."""

    def __init__(self, *words: object) -> None:
        super().__init__(*words)
        self.moment = time.monotonic()
