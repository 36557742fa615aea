"""The small set of things that differ between the kinds of guest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from harness.guest.transport import CommandResult
from harness.waiting import Deadline

Run = Callable[[str, Deadline], CommandResult]
Shell = Callable[[str, Deadline], None]
Read = Callable[[str], bytes]


class GuestKind(ABC):
    """One kind of guest; everything that is not here is the same for all."""

    name: ClassVar[str]

    @abstractmethod
    def shut_down(self, run: Run, shell: Shell, deadline: Deadline) -> None:
        """Tell the guest to switch itself off in order; its answer may not come any more."""

    @abstractmethod
    def find_hash(self, run: Run, path: str, deadline: Deadline) -> str | None:
        """SHA-256 of a file in the guest, or None when the guest has no command for it."""

    @abstractmethod
    def has_carrier(self, run: Run, read: Read, nic: int, deadline: Deadline) -> bool:
        """Whether the guest's driver sees a cable in test NIC `nic`, counted from 0; `read` is over SFTP."""
