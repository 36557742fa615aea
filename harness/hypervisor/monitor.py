"""QEMU's own monitor, through libvirt: the few commands that libvirt has no call for.

The human monitor has no error codes: a command that failed is known only by the text it prints.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import libvirt
import libvirt_qemu

from harness.errors import MachineError

Hmp = Callable[[str], str]

# 10.0.2.15 is the guest's address on the management network; the state column says HOST_FORWARD for a forward.
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+10\.0\.2\.15\s+(\d+)")


@dataclass(frozen=True, slots=True)
class Monitor:
    """Runs human monitor commands; `hmp` takes one command line and gives back what it printed."""

    hmp: Hmp

    @classmethod
    def of(cls, domain: libvirt.virDomain) -> Monitor:
        """The monitor of a running domain."""

        def hmp(command: str) -> str:
            how = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
            try:
                return str(libvirt_qemu.qemuMonitorCommand(domain, command, how))
            except libvirt.libvirtError as error:
                reason = error.get_error_message() or str(error)
                raise MachineError(f"QEMU's monitor did not take '{command}': {reason}.") from error

        return cls(hmp)

    def order(self, command: str) -> None:
        """Run a command that prints nothing when it succeeds. Raises MachineError with what it printed otherwise."""
        printed = self.hmp(command).strip()
        if printed:
            raise MachineError(f"QEMU refused '{command}': {' '.join(printed.split())}")

    def host_ports(self) -> dict[int, int]:
        """Guest port to the port on 127.0.0.1 that QEMU bound for it."""
        return {int(guest): int(host) for host, guest in _FORWARD.findall(self.hmp("info usernet"))}
