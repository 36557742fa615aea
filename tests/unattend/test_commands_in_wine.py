"""The commands of the answer file, run: cmd, reg and xcopy are Wine's, which read a command line as Windows' do."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from harness.images.install.stages import SignReader
from harness.unattend import render_answer
from harness.unattend.answer import NAMESPACE
from tests.wine import WINE_LIBRARIES, Wine, throwaway_wine

PROGRAMS = ("cmd.exe", "reg.exe", "xcopy.exe")

pytestmark = pytest.mark.wine


class Windows:
    """A small Windows: C:, an answer CD as E:, COM1 into a file."""

    def __init__(self, folder: Path) -> None:
        self.drive_c, self.cd, self.com1 = folder / "prefix" / "drive_c", folder / "cd", folder / "com1"
        system = self.drive_c / "windows" / "system32"
        devices = folder / "prefix" / "dosdevices"
        for path in (system, devices, self.cd / "setup" / "more"):
            path.mkdir(parents=True)
        for program in PROGRAMS:
            shutil.copy(WINE_LIBRARIES / program, system)
        (devices / "c:").symlink_to("../drive_c")
        (devices / "e:").symlink_to(self.cd)
        self.com1.touch()
        (devices / "com1").symlink_to(self.com1)
        self.folder = system
        self.wine: Wine | None = None

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command line, its first word from system32."""
        program, _, rest = command.partition(" ")
        name = program.removesuffix(".exe") + ".exe"
        words = re.findall(r'"[^"]*"|\S+', rest)
        return subprocess.run(
            [self.wine.program, f"C:\\windows\\system32\\{name}", *(word.strip('"') for word in words)],
            env={**self.wine.environment, "WINEPATH": "C:\\windows\\system32"},
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def value(self, key: str, name: str) -> str:
        """Type and data of a registry value, as reg shows them."""
        said = self.run(f"reg query {key} /v {name}").stdout
        found = re.search(rf"{name}\s+(REG_\w+)\s+(\S+)", said)
        return f"{found[1]} {found[2]}" if found else said


@pytest.fixture
def windows(tmp_path):
    if not all((WINE_LIBRARIES / program).is_file() for program in PROGRAMS):
        pytest.skip("Wine's programs are not where Debian has them")
    made = Windows(tmp_path)
    with throwaway_wine(tmp_path) as made.wine:
        if made.wine is None:
            pytest.skip("no Wine here")
        yield made


def commands(xml: bytes, name: str) -> list[str]:
    return [element.text for element in etree.fromstring(xml).iterfind(f".//{{{NAMESPACE}}}{name}")]


def test_the_commands_of_setup_do_what_they_are_for(windows, plan):
    (windows.cd / "setup" / "settings.json").write_text("{}")
    (windows.cd / "setup" / "more" / "deep.txt").write_text("deep")
    (windows.cd / "autounattend.xml").write_text("answers")
    xml = render_answer(dataclasses.replace(plan, bypass_requirements=True))
    paths = [path for path in commands(xml, "Path") if path != "E:\\"]

    written = []
    for path in paths:
        done = windows.run(path)
        assert done.returncode == 0, (path, done.stdout, done.stderr)
        written.append(windows.com1.read_bytes())
        windows.com1.write_bytes(b"")

    # cmd writes the blank before the '&', too.
    assert [line.replace(b" \r\n", b"\r\n") for line in written if line] == [
        b"wfp-hil: stage %s\r\n" % stage for stage in (b"setup-started", b"specialize", b"oobe")
    ]
    assert [SignReader().feed(line.decode())[0].stage for line in written if line] == [
        "setup-started",
        "specialize",
        "oobe",
    ]
    copied = windows.drive_c / "wfp-hil" / "setup"
    assert (copied / "settings.json").read_text() == "{}"
    assert (copied / "more" / "deep.txt").read_text() == "deep"
    assert (windows.drive_c / "unattend.xml").read_text() == "answers"
    for name in ("TPM", "SecureBoot", "RAM", "CPU", "Storage"):
        assert windows.value("HKLM\\SYSTEM\\Setup\\LabConfig", f"Bypass{name}Check") == "REG_DWORD 0x1"
    oobe = "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\OOBE"
    assert windows.value(oobe, "BypassNRO") == "REG_DWORD 0x1"
    bitlocker = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\BitLocker"
    assert windows.value(bitlocker, "PreventDeviceEncryption") == "REG_DWORD 0x1"


def test_a_command_that_fails_is_no_failure_of_setup(windows, plan):
    """No CD, and no serial port: Setup would end with the first command that ends with anything but 0."""
    windows.com1.unlink()
    (windows.com1.parent / "prefix" / "dosdevices" / "com1").unlink()
    (windows.com1.parent / "prefix" / "dosdevices" / "com1").symlink_to("/nowhere/com1")

    for path in commands(render_answer(plan), "Path"):
        assert windows.run(path).returncode == 0, path
    assert windows.run("cmd /c echo x>COM1").stderr, "COM1 is there after all"


def test_the_first_logon_copies_again_and_then_runs_the_script_once(windows, plan):
    """The script is stood in for: Wine has no PowerShell."""
    (windows.cd / "setup" / "settings.json").write_text("{}")
    (command,) = commands(render_answer(plan), "CommandLine")
    assert command.count("powershell.exe ") == 1
    head, _, tail = command.partition("powershell.exe ")

    done = windows.run(f'{head}echo {tail.rstrip(chr(34))}>COM1"')

    assert done.returncode == 0, (done.stdout, done.stderr, windows.com1.read_text())
    assert (windows.drive_c / "wfp-hil" / "setup" / "settings.json").is_file()
    assert windows.com1.read_text() == tail.rstrip('"') + "\n"


def test_without_the_cd_nothing_is_copied_and_the_script_is_tried_all_the_same(windows, plan):
    (command,) = commands(render_answer(plan), "CommandLine")
    head, _, tail = command.partition("powershell.exe ")

    windows.run(f'{head}echo {tail.rstrip(chr(34))}>COM1"')

    assert not (windows.drive_c / "wfp-hil").exists()
    assert windows.com1.read_text().startswith("-NoProfile")
