"""What only a Windows guest does its own way."""

from __future__ import annotations

from harness.errors import GuestError
from harness.guest.kind import GuestKind, Run, Shell
from harness.waiting import Deadline


class WindowsGuest(GuestKind):
    """Windows 10, 11 or Server: files are hashed by certutil."""

    name = "windows"

    def shut_down(self, run: Run, shell: Shell, deadline: Deadline) -> None:  # noqa: ARG002 - as for all kinds
        """By shutdown.exe: really off, so that nothing of a hibernated kernel is in the image."""
        run("shutdown.exe /s /f /t 0", deadline)

    def find_hash(self, run: Run, path: str, deadline: Deadline) -> str | None:
        """SHA-256 of a file in the guest, by certutil.

        Raises GuestError when certutil does not answer with one.
        """
        done = run(f'certutil -hashfile "{path}" SHA256', deadline)
        # The second line; Windows 7 put spaces between the bytes.
        for line in done.stdout.splitlines():
            digits = line.replace(" ", "").strip().lower()
            if len(digits) == 64 and all(c in "0123456789abcdef" for c in digits):
                return digits
        raise GuestError(
            f"certutil gave no SHA-256 of '{path}': {done.stdout.strip() or done.stderr.strip()}",
            command="certutil",
            exit_code=done.exit_code,
            stdout=done.stdout,
            stderr=done.stderr,
        )
