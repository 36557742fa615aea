"""What only the reference guest does its own way."""

from __future__ import annotations

from harness.errors import GuestError
from harness.guest.kind import GuestKind, ReadFile, Run, Shell
from harness.waiting import Deadline

_BOOT_ID = r"C:\wfp-hil\boot-id"


class ReferenceGuest(GuestKind):
    """Debian with Wine: the boot id is a file that init writes, files are verified by reading them back."""

    name = "reference"

    def read_boot_id(self, run: Run, read_file: ReadFile, deadline: Deadline) -> str:  # noqa: ARG002 - as for all kinds
        """What init wrote at boot; fetched as a file, for a command costs Wine seconds while it is booting.

        Raises GuestError when the file is empty.
        """
        boot_id = read_file(_BOOT_ID).decode(errors="replace").strip()
        if not boot_id:
            raise GuestError(f"'{_BOOT_ID}' in the guest is empty.", hint="init in the image writes it at boot.")
        return boot_id

    def shut_down(self, run: Run, shell: Shell, deadline: Deadline) -> None:  # noqa: ARG002 - as for all kinds
        """By the system underneath Wine: all is written, nothing more may be, the power goes."""
        shell("sync; echo u >/proc/sysrq-trigger; echo o >/proc/sysrq-trigger", deadline)

    def find_hash(self, run: Run, path: str, deadline: Deadline) -> str | None:  # noqa: ARG002 - as for all kinds
        """Nothing: Wine's certutil is a stub, so files are read back."""
        return None
