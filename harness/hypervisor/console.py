"""What a person who sits at a machine does: look at the screen, press keys, press the power button."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import libvirt

from harness.errors import MachineError
from harness.hypervisor.connection import machine_error

_PRESS_MILLISECONDS = 60
# Linux' number of the key "up": it answers "press any key" and does nothing in a dialogue that might be open already.
_HARMLESS_KEY = 103


@dataclass(frozen=True, slots=True)
class Console:
    """Screen, keyboard, power button and memory of a running domain."""

    connection: libvirt.virConnect
    domain: libvirt.virDomain

    def screen(self) -> bytes:
        """A picture of the screen, PNG or PPM as QEMU has it. Raises MachineError where there is none."""
        picture = bytearray()
        stream = self.connection.newStream()

        def receive(_stream: libvirt.virStream, data: bytes, _opaque: None) -> int:
            picture.extend(data)
            return len(data)

        def take() -> None:
            self.domain.screenshot(stream, 0)
            stream.recvAll(receive, None)
            stream.finish()

        self._call("take a screenshot", take)
        return bytes(picture)

    def dump_memory(self, path: Path, *, windows: bool = False) -> None:
        """Have QEMU write the guest's whole memory to a new file: ELF, or a dump for Windows' debuggers.

        Raises MachineError; for Windows' form the guest needs a vmcoreinfo device and virtio-win's fwcfg driver.
        """
        form = libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_WIN_DMP if windows else libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW
        self._call(
            "write its memory to a file",
            lambda: self.domain.coreDumpWithFormat(str(path.absolute()), form, libvirt.VIR_DUMP_MEMORY_ONLY),
        )

    def press_any_key(self) -> None:
        """Press and release one key."""
        self._call(
            "take a key",
            lambda: self.domain.sendKey(libvirt.VIR_KEYCODE_SET_LINUX, _PRESS_MILLISECONDS, [_HARMLESS_KEY], 1),
        )

    def press_power(self) -> None:
        """Press the power button; what follows is the guest's decision."""
        self._call(
            "press the power button", lambda: self.domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        )

    def bytes_read(self, disk: str) -> int:
        """How much the guest has read from a disk or CD since this QEMU started, by its name in the domain."""
        counted: list[int] = []
        self._call(f"count what was read from '{disk}'", lambda: counted.append(int(self.domain.blockStats(disk)[1])))
        return counted[0]

    def _call(self, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except libvirt.libvirtError as error:
            raise machine_error(what, error) from error


def find_console(connection: libvirt.virConnect, name: str) -> Console:
    """The console of the running machine of this name, whoever started it."""
    try:
        return Console(connection, connection.lookupByName(name))
    except libvirt.libvirtError as error:
        raise MachineError(
            f"There is no running machine '{name}'.", hint="'virsh list' shows those that run."
        ) from error
