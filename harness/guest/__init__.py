"""The guest as a scenario sees it: commands over WinRM, files over SFTP, sockets through the probe."""

from __future__ import annotations

from harness.guest.probe import ProbeClient, ProbeError, ProbeListener, ProbeSocket, ProbeUdp
from harness.guest.session import Guest, open_guest
from harness.guest.sftp import SftpTransport
from harness.guest.transport import CommandResult
from harness.guest.winrm import RunningCommand, WinRmTransport

__all__ = [
    "CommandResult",
    "Guest",
    "ProbeClient",
    "ProbeError",
    "ProbeListener",
    "ProbeSocket",
    "ProbeUdp",
    "RunningCommand",
    "SftpTransport",
    "WinRmTransport",
    "open_guest",
]
