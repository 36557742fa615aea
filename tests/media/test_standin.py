"""The stand-in for Windows Setup: what it refuses, which commands it carries out, what it writes on a disk.

Its programs run in the guest with Debian's Python alone; here they are loaded from where they lie.
"""

from __future__ import annotations

import importlib
import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pefile
import pytest

from harness.config import profiles_root
from harness.unattend import InstallPlan, encode_password, render_answer

INSTALLER = profiles_root() / "rehearsal" / "installer"
PARTS = ("console", "disk", "media", "wim", "answer", "commands", "firmware")


@pytest.fixture(scope="module")
def standin() -> Iterator[Any]:
    """The modules of the stand-in by their names."""
    sys.path.insert(0, str(INSTALLER / "setup"))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
    finally:
        sys.path.remove(str(INSTALLER / "setup"))
        for name in PARTS:
            sys.modules.pop(name, None)


PLAN = InstallPlan(
    computer_name="WFPREF", image_name="Stand-in", image_index=1, password="pä55 w0rd", bypass_requirements=True
)
ANSWER = render_answer(PLAN).decode()


@pytest.fixture
def read(standin: Any, tmp_path: Path) -> Callable[[str], Any]:
    """Parses a text as the stand-in does an answer file."""

    def parse(text: str) -> Any:
        path = tmp_path / "Autounattend.XML"
        path.write_text(text, encoding="utf-8")
        return standin.answer.Answer(path)

    return parse


class FakeConsole:
    """Keeps what is said instead of saying it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[str] = []
        self.com1 = self.said.append
        self.show = self.shown.append


def take(answer: Any, images: list[Any]) -> None:
    """All that the stand-in asks of an answer file before it touches the disk, and after."""
    answer.check_user_data()
    image = answer.choose(images)
    answer.check_architecture(image)
    answer.partitions()
    answer.computer_name()
    answer.accounts()


def images(standin: Any) -> list[Any]:
    return [standin.wim.Image(1, "Stand-in", 9, "Enterprise"), standin.wim.Image(2, "Other", 9, "Core")]


def test_our_own_answer_file_is_taken(standin: Any, read: Callable[[str], Any]) -> None:
    answer = read(ANSWER)
    take(answer, images(standin))
    assert answer.choose(images(standin)).index == 1
    wanted, target = answer.partitions()
    assert [(entry.kind, entry.mebibytes) for entry in wanted] == [("EFI", 260), ("MSR", 16), ("Primary", None)]
    assert target == 3
    passwords = {account.name: account.password for account in answer.accounts()}
    assert passwords["Administrator"] == PLAN.password


def test_an_image_may_be_asked_for_by_name(standin: Any, read: Callable[[str], Any]) -> None:
    text = ANSWER.replace("/IMAGE/INDEX", "/IMAGE/NAME").replace("<Value>1</Value>", "<Value>other</Value>")
    assert read(text).choose(images(standin)).index == 2


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("</unattend>", "", "not well-formed XML"),
        ("urn:schemas-microsoft-com:unattend", "urn:other", "not unattend of Microsoft's name space"),
        ("<AcceptEula>true</AcceptEula>", "", "Setup would ask for the licence"),
        ("Microsoft-Windows-International-Core-WinPE", "Other", "Setup would ask for languages"),
        ("<Value>1</Value>", "<Value>7</Value>", r"has no image '7': it has 1: 'Stand-in', 2: 'Other'"),
        ("/IMAGE/INDEX", "/IMAGE/OTHER", "names no image: Setup would ask which one"),
        ('processorArchitecture="amd64"', 'processorArchitecture="arm64"', "is for 'arm64' and image"),
        ("<Type>EFI</Type>", "<Type>Primary</Type>", "no EFI partition"),
        ("<Type>MSR</Type>", "<Type>Other</Type>", "has the type 'Other'"),
        ("<Size>260</Size>", "", "needs either Size in MiB or Extend"),
        ("<Format>FAT32</Format>", "<Format>NTFS</Format>", "formatted as 'NTFS', not FAT32"),
        ("<WillWipeDisk>true", "<WillWipeDisk>false", "WillWipeDisk"),
        ("<InstallTo>", "<InstallTo><PartitionID>2</PartitionID>", "'2', which is no primary partition"),
        ("<ComputerName>WFPREF", "<ComputerName>A-NAME-TOO-LONG-1", "has 17 characters"),
        (encode_password(PLAN.password, "AdministratorPassword"), "cGxhaW4=", "not base64 of UTF-16|does not end"),
        ("<Username>Administrator", "<Username>Somebody", "'Somebody', which is no account"),
    ],
)  # fmt: skip
def test_what_setup_would_not_take_is_refused(
    standin: Any, read: Callable[[str], Any], old: str, new: str, sentence: str
) -> None:
    assert old in ANSWER
    with pytest.raises(standin.console.Refused, match=sentence):
        take(read(ANSWER.replace(old, new)), images(standin))


def test_a_password_of_another_element_is_noticed(standin: Any, read: Callable[[str], Any]) -> None:
    wrong = encode_password("other", "Password")
    text = ANSWER.replace(encode_password(PLAN.password, "Password"), wrong, 1)
    with pytest.raises(standin.console.Refused, match="AutoLogon's password is not the one of 'Administrator'"):
        read(text).accounts()


def test_the_answer_file_is_looked_for_as_setup_does(standin: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    (first / "sub").mkdir(parents=True)
    second.mkdir()
    (first / "sub" / "autounattend.xml").touch()
    assert standin.media.find_answer_file([first, second]) is None
    (second / "AutoUnattend.xml").touch()
    assert standin.media.find_answer_file([first, second]) == second / "AutoUnattend.xml"


def test_commands_of_each_pass_are_carried_out_or_told(
    standin: Any, read: Callable[[str], Any], tmp_path: Path
) -> None:
    cd, drive = tmp_path / "cd", tmp_path / "drive"
    (cd / "setup").mkdir(parents=True)
    drive.mkdir()
    (cd / "setup" / "settings.json").write_text("{}")
    for script in (profiles_root() / "windows" / "setup").glob("*.ps1"):
        (cd / "setup" / script.name).write_bytes(script.read_bytes())
    answer, console = read(ANSWER), FakeConsole()
    setup = standin.commands.Interpreter(console, [cd])
    for command in answer.commands("windowsPE"):
        setup.run(command.line)
    assert console.said == ["wfp-hil: stage setup-started"]
    assert setup.waived >= {"bypasstpmcheck", "bypasssecurebootcheck"}
    assert setup.skipped == []

    installed = standin.commands.Interpreter(console, [cd], drive)
    for command in answer.commands("specialize") + answer.commands("oobeSystem"):
        installed.run(command.line)
    assert (drive / "wfp-hil" / "setup" / "settings.json").is_file()
    assert all(line.lower().startswith("reg add ") for line in installed.skipped)
    assert installed.reboots
    installed.play(drive / "wfp-hil" / "setup" / "boot.ps1")
    assert console.said == [
        f"wfp-hil: stage {name}"
        for name in (
            "setup-started", "specialize", "oobe", "first-logon", "network-private", "winrm", "ssh", "guest-tools",
            "test-signing", "crash-settings", "quiet", "probe-ready", "finalise", "sealed",
        )
    ]  # fmt: skip


def test_a_script_that_is_not_there_is_refused(standin: Any, tmp_path: Path) -> None:
    interpreter = standin.commands.Interpreter(FakeConsole(), [], tmp_path)
    with pytest.raises(standin.console.Refused, match=r"no script 'first-logon\.ps1' in 'setup'"):
        interpreter.run("powershell.exe -NoProfile -File C:\\wfp-hil\\setup\\first-logon.ps1")
    interpreter.run("format c: /y")
    assert interpreter.skipped == ["format c: /y"]


def test_the_partition_table_is_one(standin: Any) -> None:
    sectors = 1 << 17
    wanted = [standin.disk.Wanted("EFI", 20), standin.disk.Wanted("MSR", 16), standin.disk.Wanted("Primary", None)]
    partitions = standin.disk.plan(wanted, sectors)
    file = io.BytesIO(b"\xa5" * sectors * 512)
    standin.disk.write_table(file, partitions, sectors)
    data = file.getvalue()
    assert len(data) == sectors * 512
    assert data[450] == 0xEE
    assert struct.unpack_from("<II", data, 454) == (1, sectors - 1)
    for own, other in ((1, sectors - 1), (sectors - 1, 1)):
        header = data[own * 512 : own * 512 + 92]
        magic, _, size, crc, _, mine, backup, first, last = struct.unpack_from("<8sIIIIQQQQ", header)
        assert (magic, size, mine, backup) == (b"EFI PART", 92, own, other)
        assert crc == zlib.crc32(header[:16] + bytes(4) + header[20:])
        table, count, length, table_crc = struct.unpack_from("<QIII", header, 72)
        entries = data[table * 512 : table * 512 + count * length]
        assert table == (2 if own == 1 else sectors - 33)
        assert table_crc == zlib.crc32(entries)
        found = [struct.unpack_from("<QQ", entries, 128 * number + 32) for number in range(3)]
        assert found == [(p.first, p.last) for p in partitions]
        assert first <= found[0][0]
        assert found[0][1] < found[1][0] <= found[1][1] < found[2][0] <= found[2][1] <= last
        assert entries[128 * 3 : 128 * 4] == bytes(128)
    with pytest.raises(ValueError, match="partition 1 of 900 MiB does not fit"):
        standin.disk.plan([standin.disk.Wanted("EFI", 900)], sectors)


def test_files_of_an_archive_are_found_by_name(standin: Any, wimlib: Callable[..., Path]) -> None:
    wim = standin.wim.Wim(wimlib("plain.wim", "--compress=none", WINDOWS_ARCH="9", WINDOWS_EDITIONID="Core"))
    assert [(image.index, image.name, image.architecture, image.edition) for image in wim.images] == [
        (1, "Windows Test", 9, "Core")
    ]
    files = wim.files(1)
    assert set(files) == {"Windows/System32/kernel.bin", "große Datei.txt"}
    assert wim.read(files["Windows/System32/kernel.bin"]) == bytes(range(256)) * 64
    assert wim.read(files["große Datei.txt"]) == b"text"


def test_a_boot_entry_names_the_partition_and_the_file(standin: Any) -> None:
    partition = standin.disk.plan([standin.disk.Wanted("EFI", 20)], 1 << 17)[0]
    path = standin.firmware._device_path("\\EFI\\x.efi", partition)
    assert path[:4] == bytes([4, 1, 42, 0])
    assert path[4:24] == struct.pack("<IQQ", 1, 2048, 40960)
    assert path[24:40] == partition.guid.bytes_le
    assert path[40:46] == bytes([2, 2, 4, 4, 26, 0])
    assert path[46:-4].decode("utf-16-le") == "\\EFI\\x.efi\0"
    assert path[-4:] == bytes([0x7F, 0xFF, 4, 0])


def test_wishes_are_those_of_the_first_medium_that_has_some(standin: Any, tmp_path: Path) -> None:
    assert standin.console.read_wishes([tmp_path]) == {}
    (tmp_path / "rehearsal.json").write_text(json.dumps({"stall": "specialize"}))
    assert standin.console.read_wishes([tmp_path / "none", tmp_path]) == {"stall": "specialize"}


def test_the_boot_program_is_what_firmware_starts(tmp_path: Path) -> None:
    loader = INSTALLER / "loader"
    target = tmp_path / "loader"
    target.mkdir()
    for name in ("Makefile", "loader.c", "uefi.h"):
        (target / name).write_bytes((loader / name).read_bytes())
    subprocess.run(["make", "-s", "-C", target], check=True, timeout=60, capture_output=True)
    program = pefile.PE(str(target / "build" / "loader.efi"))
    assert program.OPTIONAL_HEADER.Subsystem == pefile.SUBSYSTEM_TYPE["IMAGE_SUBSYSTEM_EFI_APPLICATION"]
    assert program.FILE_HEADER.Machine == pefile.MACHINE_TYPE["IMAGE_FILE_MACHINE_AMD64"]
    assert not getattr(program, "DIRECTORY_ENTRY_IMPORT", [])
    # Firmware moves it to where there is room.
    assert not program.FILE_HEADER.Characteristics & pefile.IMAGE_CHARACTERISTICS["IMAGE_FILE_RELOCS_STRIPPED"]
