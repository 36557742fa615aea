"""What lies on the answer CD: the scripts are told what the profile says, and keys are those of the image."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from harness.config import load_profile
from harness.driver.sign import make_certificate
from harness.errors import UsageError
from harness.images.secrets import make_secrets
from harness.unattend import setup_files, virtio_folder
from harness.unattend.files import registry_values


@pytest.fixture
def files(plan, secrets, tmp_path):
    return make_files(plan, secrets, tmp_path)


def make_files(plan, secrets, folder: Path, *, openssh: Path | None = None):
    return setup_files(
        plan,
        load_profile("windows-11"),
        secrets=secrets,
        management_mac="52:54:00:77:66:01",
        test_macs=["52:54:00:77:66:10", "52:54:00:77:66:11"],
        test_certificate=make_certificate(folder).certificate.read_bytes(),
        build=26100,
        server=False,
        openssh=openssh,
    )


def test_the_answer_file_lies_at_the_root_and_all_else_in_setup(files):
    outside = {name for name in files if "/" not in name}

    assert outside == {"autounattend.xml"}
    assert {"setup/first-logon.ps1", "setup/settings.json", "setup/winrm.pfx", "setup/lsa.cs"} <= set(files)
    # Names that ISO 9660 with Joliet keeps as they are.
    assert all(len(Path(name).name) <= 64 and name.isascii() for name in files)


def test_the_scripts_are_told_the_addresses_of_the_profile(files):
    settings = json.loads(files["setup/settings.json"])

    assert settings["management"] == {"name": "mgmt0", "mac": "52-54-00-77-66-01"}
    assert settings["test_nics"][0] == {
        "name": "test0",
        "mac": "52-54-00-77-66-10",
        "ipv4": {"address": "192.0.2.2", "prefix": 24, "gateway": "192.0.2.1"},
        "ipv6": {"address": "2001:db8::2", "prefix": 64, "gateway": "2001:db8::1"},
    }
    assert settings["test_nics"][1] == {"name": "test1", "mac": "52-54-00-77-66-11"}
    assert settings["virtio_folder"] == "w11"
    assert settings["openssh"] is None
    assert settings["dump_mib"] > load_profile("windows-11").machine.memory_mib


def test_every_setting_that_a_script_asks_for_is_there(files):
    settings = json.loads(files["setup/settings.json"])
    import re

    asked = {
        name
        for path in files.values()
        if isinstance(path, Path) and path.suffix == ".ps1"
        for name in re.findall(r"\$settings\.([a-z_]+)", path.read_text(), re.IGNORECASE)
    }

    assert asked <= set(settings)
    assert asked >= {"registry", "management", "test_nics", "winrm_port", "pfx_password", "user"}


def test_the_certificate_comes_with_its_key_and_the_password_of_the_settings(files, secrets):
    password = json.loads(files["setup/settings.json"])["pfx_password"]

    key, certificate, others = pkcs12.load_key_and_certificates(files["setup/winrm.pfx"], password.encode())

    assert key is not None
    assert certificate == x509.load_pem_x509_certificate(secrets.winrm_certificate)
    assert certificate.public_key() == key.public_key()
    assert others == []
    assert certificate.subject.rfc4514_string() == "CN=WFP11"


def test_a_package_of_openssh_comes_along(plan, secrets, tmp_path):
    package = tmp_path / "OpenSSH-Win64.ZIP"
    package.write_bytes(b"PK")

    files = make_files(plan, secrets, tmp_path, openssh=package)

    assert files["setup/openssh.zip"] == package
    assert json.loads(files["setup/settings.json"])["openssh"] == "openssh.zip"


def test_a_certificate_that_nobody_tried_with_winrm_is_refused(plan, tmp_path):
    with pytest.raises(UsageError, match="no RSA key"):
        make_files(plan, make_secrets(), tmp_path)


def test_an_answer_file_that_setup_would_not_take_goes_onto_no_cd(plan, secrets, tmp_path):
    with pytest.raises(UsageError, match=r"UserAccounts/LocalAccounts/LocalAccount/Name' has 21 characters"):
        make_files(dataclasses.replace(plan, user="a-name-of-21-letters!"), secrets, tmp_path)


def test_no_secret_is_twice_the_same(plan, secrets, tmp_path):
    one, two = (json.loads(make_files(plan, secrets, tmp_path)["setup/settings.json"]) for _ in range(2))

    assert one["pfx_password"] != two["pfx_password"]


def test_the_ssh_port_is_that_of_the_profile(files):
    assert b"\nPort 22\n" in files["setup/sshd_config"]


@pytest.mark.parametrize(
    ("build", "server", "folder"),
    [
        (17763, False, "w10"),
        (19045, False, "w10"),
        (22000, False, "w11"),
        (26100, False, "w11"),
        (17763, True, "2k19"),
        (20348, True, "2k22"),
        (26100, True, "2k25"),
    ],
)
def test_virtio_folders(build, server, folder):
    assert virtio_folder(build=build, server=server) == folder


def test_registry_values_are_such_that_powershell_can_set_them():
    stages = set(load_profile("windows-11").install.stages)
    seen = set()
    for stage, rows in registry_values().items():
        assert stage in stages
        for row in rows:
            place = (row["path"].lower(), row["name"].lower())
            assert place not in seen, place
            seen.add(place)
            assert row["path"].startswith("HKLM:\\"), place
            assert "/" not in row["path"]
            assert "\\\\" not in row["path"]
            assert not row["path"].endswith("\\")
            if row["type"] == "DWord":
                assert isinstance(row["value"], int), place
                assert 0 <= row["value"] < 2**31, place
            else:
                assert row["type"] == "String", place
                assert isinstance(row["value"], str), place


def test_every_registry_value_has_its_reason_and_source():
    import tomllib

    from harness.config import profiles_root

    table = tomllib.loads((profiles_root() / "windows" / "registry.toml").read_text())
    for row in table["value"]:
        assert set(row) == {"stage", "path", "name", "type", "value", "why", "source", "read"}, row["name"]
        assert row["why"].endswith(".")
        assert row["source"].startswith("https://")
