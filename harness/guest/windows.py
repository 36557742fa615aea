"""What only a Windows guest does its own way."""

from __future__ import annotations

from harness.errors import GuestError
from harness.guest.kind import GuestKind, Read, Run, Shell
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

    def has_carrier(self, run: Run, read: Read, nic: int, deadline: Deadline) -> bool:  # noqa: ARG002 - for all kinds
        """As NDIS has it: MediaConnectState of the adapter with the NIC's address, 1 for connected and 2 for not.

        https://learn.microsoft.com/en-us/windows/win32/fwp/wmi/netadaptercimprov/msft-netadapter
        Raises GuestError for another answer.
        """
        address = f"52-54-00-77-66-1{nic:X}"
        words = f"[int](Get-NetAdapter | Where-Object MacAddress -eq '{address}').MediaConnectState"
        done = run(f'powershell.exe -NoProfile -NonInteractive -Command "{words}"', deadline)
        state = done.stdout.strip()
        if state not in ("1", "2"):
            raise GuestError(
                f"Get-NetAdapter gave no state of the adapter {address}: {state or done.stderr.strip()}",
                command="powershell",
                exit_code=done.exit_code,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        return state == "1"
