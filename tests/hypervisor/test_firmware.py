"""Firmware, NVRAM and TPM state: where they come from and where they go."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness import process
from harness.config import load_profile
from harness.errors import HostError
from harness.hypervisor import firmware
from harness.hypervisor.firmware import Firmware, drop_tpm, fetch_tpm, find_firmware, make_nvram, place_tpm, tpm_folder

MACHINE = load_profile("windows-11").machine
URI = "qemu:///session"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def test_a_host_without_firmware_says_which_package_has_it(monkeypatch):
    monkeypatch.setattr(firmware, "_PLAIN", (("/nowhere/CODE.fd", "/nowhere/VARS.fd"),))

    with pytest.raises(HostError, match=r"no UEFI firmware at '/nowhere/CODE\.fd'") as caught:
        find_firmware(MACHINE)
    assert "'ovmf'" in (caught.value.hint or "")


def test_the_second_place_is_looked_at(monkeypatch, tmp_path):
    code, variables = tmp_path / "CODE.fd", tmp_path / "VARS.fd"
    code.touch()
    variables.touch()
    monkeypatch.setattr(firmware, "_PLAIN", (("/nowhere/CODE.fd", str(variables)), (str(code), str(variables))))

    assert find_firmware(MACHINE) == Firmware(code, variables)


def test_a_comma_in_a_path_is_no_option_of_qemu():
    words = Firmware(Path("/a,b/CODE.fd"), Path("/VARS.fd")).drives(Path("/c,d/nvram.qcow2"))

    assert words[1].endswith("file=/a,,b/CODE.fd")
    assert words[3].endswith("file=/c,,d/nvram.qcow2")


def test_nvram_is_qcow2_with_what_the_template_holds(tmp_path):
    if process.find_tool("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    template = tmp_path / "VARS.fd"
    template.write_bytes(os.urandom(540672))

    make_nvram(tmp_path / "nvram.qcow2", template)
    again = tmp_path / "again.qcow2"
    make_nvram(again, tmp_path / "nvram.qcow2")

    told = json.loads(process.run(["qemu-img", "info", "--output=json", again]).stdout)
    assert (told["format"], told["virtual-size"]) == ("qcow2", 540672)
    process.run(["qemu-img", "compare", template, again])


def test_a_tpm_goes_to_the_domain_and_comes_back(home):
    state = home / "tpm"
    state.mkdir()
    (state / "tpm2-00.permall").write_bytes(b"endorsement key")

    place_tpm(state, URI, "uuid-1")
    placed = tpm_folder(URI, "uuid-1") / "tpm2" / "tpm2-00.permall"
    placed.write_bytes(b"and what the guest added")
    (placed.parent / ".lock").touch()

    assert fetch_tpm(home / "kept", URI, "uuid-1")
    assert [path.name for path in (home / "kept").iterdir()] == ["tpm2-00.permall"]
    assert (home / "kept" / "tpm2-00.permall").read_bytes() == b"and what the guest added"
    drop_tpm(URI, "uuid-1")
    assert not placed.parent.parent.exists()


def test_without_state_the_image_has_no_tpm(home):
    assert not fetch_tpm(home / "kept", URI, "never")


def test_the_system_keeps_its_tpms_elsewhere():
    assert tpm_folder("qemu:///system", "u") == Path("/var/lib/libvirt/swtpm/u")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_what_root_made_of_swtpms_authority_goes_to_the_folders_owner(tmp_path):
    for name in ("signkey.pem", "certserial", "other"):
        (tmp_path / name).touch()
    elsewhere = tmp_path.parent / "not-swtpms"
    elsewhere.touch()
    (tmp_path / "link").symlink_to(elsewhere)
    os.chown(tmp_path / "other", 4243, 4243)
    os.chown(tmp_path, 4242, 4242)

    firmware.share_tpm_authority(tmp_path)

    owners = {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in tmp_path.iterdir()}
    assert owners == {"signkey.pem": (4242, 4242), "certserial": (4242, 4242), "other": (4243, 4243), "link": (0, 0)}
    assert elsewhere.stat().st_uid == 0


def test_an_authority_that_was_never_made_is_no_trouble(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    firmware.share_tpm_authority(tmp_path / "absent")
