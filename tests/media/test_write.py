"""The answer CD carries what it is given, under the names that it is given, in each of its file systems."""

from __future__ import annotations

from pathlib import Path

import pycdlib
import pytest

from harness.errors import UsageError
from harness.media import open_medium, write_answer_cd, write_boot_medium


def test_all_three_file_systems_have_the_same_files(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(range(256)) * 5000)
    files = {
        "autounattend.xml": b"<unattend/>",
        "setup/first-logon.ps1": b"Write-Stage",
        "setup/administrators_authorized_keys": b"ssh-ed25519 AAAA",
        "setup/empty": b"",
        "drivers/w11/amd64/large.bin": large,
    }
    target = tmp_path / "answer.iso"
    write_answer_cd(target, files)
    iso = pycdlib.PyCdlib()
    iso.open(str(target))
    for key in ("udf_path", "joliet_path", "iso_path"):
        for name, content in files.items():
            with iso.open_file_from_iso(**{key: f"/{name}"}) as stream:
                assert stream.read() == (content.read_bytes() if isinstance(content, Path) else content), (key, name)
    iso.close()
    opened = open_medium(target)
    assert (opened.volume_id, opened.uefi_bootable) == ("WFPHIL", False)
    opened.close()


@pytest.mark.parametrize("name", ["", "/root", "a//b", "../a", "a/./b", "a\\b", "n" * 65])
def test_names_that_a_cd_cannot_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"on a CD"):
        write_answer_cd(tmp_path / "answer.iso", {name: b""})


@pytest.mark.parametrize("label", ["", "lower", "A" * 17, "A-B"])
def test_labels_that_a_cd_cannot_have_are_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(UsageError, match="cannot be a CD's label"):
        write_answer_cd(tmp_path / "answer.iso", {}, label=label)


def test_a_boot_medium_is_as_windows_are(tmp_path: Path) -> None:
    efi = tmp_path / "efi.img"
    efi.write_bytes(b"FAT" * 1000)
    target = tmp_path / "medium.iso"
    write_boot_medium(target, {"sources/install.wim": b"wim"}, label="MEDIUM", efi_image=efi)
    opened = open_medium(target)
    assert (opened.system, opened.uefi_bootable) == ("udf", True)
    assert opened.read("sources/install.wim", 10) == b"wim"
    opened.close()
    efi.write_bytes(bytes(0x10000 * 512))
    with pytest.raises(UsageError, match="El Torito allows 33553920"):
        write_boot_medium(target, {}, label="MEDIUM", efi_image=efi)
