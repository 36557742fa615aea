"""What only the reference guest does its own way."""

from __future__ import annotations

from harness.guest.kind import GuestKind, Read, Run, Shell
from harness.waiting import Deadline


class ReferenceGuest(GuestKind):
    """Debian with Wine: files are verified by reading them back."""

    name = "reference"

    def shut_down(self, run: Run, shell: Shell, deadline: Deadline) -> None:  # noqa: ARG002 - as for all kinds
        """By the system underneath Wine: all is written, nothing more may be, the power goes."""
        shell("sync; echo u >/proc/sysrq-trigger; echo o >/proc/sysrq-trigger", deadline)

    def find_hash(self, run: Run, path: str, deadline: Deadline) -> str | None:  # noqa: ARG002 - as for all kinds
        """Nothing: Wine's certutil is a stub, so files are read back."""
        return None

    def has_carrier(self, run: Run, read: Read, nic: int, deadline: Deadline) -> bool:  # noqa: ARG002 - for all kinds
        """As Linux' driver of the NIC has it; init names each NIC by its address. Wine knows nothing of it."""
        return read(f"/sys/class/net/test{nic}/carrier").strip() == b"1"
