"""The boot program on real firmware: without a key the firmware goes on, with one it starts what it is told to."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.config import profiles_root
from harness.media import write_boot_medium
from harness.process import start
from harness.waiting import Deadline, NotYet, wait_for

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]
FIRMWARE = Path("/usr/share/OVMF")
LOADER = profiles_root() / "rehearsal" / "installer" / "loader"
QUESTION = "Press any key to boot from CD or DVD"


class Booted:
    """QEMU with OVMF and one CD, its serial port and its monitor."""

    def __init__(self, serial: Path, monitor: socket.socket) -> None:
        self._serial = serial
        self._monitor = monitor.makefile("rw")
        self._monitor.readline()
        self.tell("qmp_capabilities")

    def tell(self, command: str, **arguments: object) -> None:
        self._monitor.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._monitor.flush()
        while "return" not in json.loads(self._monitor.readline()):
            pass

    def wait(self, check: Callable[[str], bool], what: str, *, press: bool = False) -> str:
        def look() -> str | None:
            if press:
                self.tell("send-key", keys=[{"type": "qcode", "data": "spc"}])
            text = self._serial.read_text(errors="replace") if self._serial.exists() else ""
            if check(text):
                return text
            raise NotYet(text[-300:])

        return wait_for(look, Deadline(240), what, interval=0.3)


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Callable[[str], Booted]]:
    """Boots a CD whose boot program has this configuration, and that has the same program again as \\next.efi."""
    if not (FIRMWARE / "OVMF_CODE_4M.fd").is_file():
        pytest.skip("no OVMF here")

    @contextmanager
    def machine(config: str) -> Iterator[Booted]:
        subprocess.run(["make", "-s", "-C", LOADER], check=True, timeout=60)
        (tmp_path / "boot.cfg").write_text(config)
        efi, iso, variables = tmp_path / "efi.img", tmp_path / "medium.iso", tmp_path / "vars.fd"
        mtools = [
            ["mformat", "-i", efi, "-C", "-T", "2880", "-h", "2", "-s", "18", "::"],
            ["mmd", "-i", efi, "::/EFI", "::/EFI/BOOT"],
            ["mcopy", "-i", efi, LOADER / "build" / "loader.efi", "::/EFI/BOOT/BOOTX64.EFI"],
            ["mcopy", "-i", efi, LOADER / "build" / "loader.efi", "::/next.efi"],
            ["mcopy", "-i", efi, tmp_path / "boot.cfg", "::/boot.cfg"],
        ]
        for words in mtools:
            subprocess.run(words, check=True, timeout=60)
        write_boot_medium(iso, {"setup.exe": b"MZ"}, label="PROMPT", efi_image=efi)
        shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", variables)
        words = [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none"),
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE / 'OVMF_CODE_4M.fd'}"),
            *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
            *("-cdrom", iso, "-serial", f"file:{tmp_path / 'serial'}"),
            *("-qmp", f"unix:{tmp_path / 'monitor'},server=on,wait=off"),
        ]
        with start(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), ExitStack() as stack:
            monitor = stack.enter_context(socket.socket(socket.AF_UNIX))

            def connect() -> bool | None:
                try:
                    monitor.connect(str(tmp_path / "monitor"))
                except OSError as error:
                    raise NotYet(error) from error
                return True

            wait_for(connect, Deadline(60), "QEMU's monitor")
            yield Booted(tmp_path / "serial", monitor)

    with ExitStack() as machines:
        yield lambda config: machines.enter_context(machine(config))


def test_without_a_key_the_firmware_goes_on(boot: Callable[[str], Booted]) -> None:
    machine = boot("prompt=1\nkernel=\\next.efi\n")
    text = machine.wait(lambda text: "BdsDxe" in text.partition(QUESTION)[2], "the firmware's next boot option")
    assert "Loading files" not in text
    # Ended with success, it would have brought the firmware's menu.
    assert "starting" not in text.partition(QUESTION)[2].partition("BdsDxe")[0]


def test_with_a_key_it_starts_what_it_is_told_to(boot: Callable[[str], Booted]) -> None:
    machine = boot("prompt=200\nkernel=\\next.efi\noptions=ignored\n")
    machine.wait(lambda text: "Loading files" in text and text.count(QUESTION) > 1, "the second program", press=True)


def test_a_program_that_is_missing_is_told(boot: Callable[[str], Booted]) -> None:
    machine = boot("kernel=\\missing.efi\n")
    text = machine.wait(lambda text: "cannot load the kernel" in text, "the complaint")
    assert QUESTION not in text
    assert "EFI status 0x800000000000000e" in text
