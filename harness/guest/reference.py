"""What only the reference guest does its own way."""

from __future__ import annotations

from collections.abc import Callable

from harness.errors import GuestError
from harness.guest.kind import GuestKind
from harness.guest.transport import CommandResult
from harness.waiting import Deadline

Run = Callable[[str, Deadline], CommandResult]


class ReferenceGuest(GuestKind):
    """Debian with Wine: the boot id is a file that init writes, files are verified by reading them back."""

    name = "reference"

    def read_boot_id(self, run: Run, deadline: Deadline) -> str:
        """What init wrote to C:\\wfp-hil\\boot-id at boot.

        Raises GuestError when the file is not there.
        """
        done = run(r"type C:\wfp-hil\boot-id", deadline)
        if done.exit_code != 0 or not done.stdout.strip():
            raise GuestError(
                rf"C:\wfp-hil\boot-id could not be read in the guest: {done.stderr.strip() or 'it is empty'}",
                command=done.command,
                exit_code=done.exit_code,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        return done.stdout.strip()

    def find_hash(self, run: Run, path: str, deadline: Deadline) -> str | None:  # noqa: ARG002 - same for all kinds
        """Nothing: Wine's certutil is a stub, so files are read back."""
        return None
