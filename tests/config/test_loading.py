"""Profiles: what is right is read, what is wrong is named with its file, its key and the near miss."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import GuestKind, load_profile
from harness.config.directories import profiles_root
from harness.config.install import InstallSettings, StageSettings
from harness.config.profile import BootSettings, MachineSettings, ManagementSettings, NetworkSettings, Profile
from harness.errors import ConfigError, UsageError

GOOD = """
name = "small"
kind = "reference"
[machine]
memory_mib = 256
vcpus = 1
[boot]
ready_line = "up"
ready_seconds = 5
[network]
ipv4 = "192.0.2.2/24"
ipv4_gateway = "192.0.2.1"
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "guest.toml"
        path.write_text(text)
        return path

    return write


def test_the_reference_profile_comes_with_the_checkout():
    profile = load_profile("reference")

    assert profile.kind is GuestKind.REFERENCE
    assert profile.machine.memory_mib <= 1024
    assert profile.path.parts[-3:] == ("vm-images", "reference", "guest.toml")


def test_a_path_is_read_and_defaults_are_filled_in(write):
    profile = load_profile(write(GOOD))

    assert profile.machine.nics == ("e1000e",)
    assert profile.management.winrm_port == 5986
    assert str(profile.network.ipv4.ip) == "192.0.2.2"


def test_a_folder_stands_for_its_guest_toml(write):
    assert load_profile(write(GOOD).parent).name == "small"


@pytest.mark.parametrize(
    ("wrong", "right", "message", "hint"),
    [
        (
            "memroy_mib = 256",
            "memory_mib = 256",
            "line 5: key 'machine.memroy_mib' is not known (1 more error in this file)",
            "Did you mean 'memory_mib'?",
        ),
        (
            "zzz = 1\nvcpus = 1",
            "vcpus = 1",
            "line 6: key 'machine.zzz' is not known",
            "Known here: " + ", ".join(MachineSettings.model_fields) + ".",
        ),
        ("", "vcpus = 1", "line 4: key 'machine.vcpus' is missing", None),
        ("vcpus = 0", "vcpus = 1", "line 6: key 'machine.vcpus' is 0, wanted greater than or equal to 1", None),
        (
            'kind = "windws"',
            'kind = "reference"',
            "line 3: key 'kind' is 'windws', wanted 'reference' or 'windows'",
            "Did you mean 'windows'?",
        ),
        (
            'vcpus = 1\nnics = ["e1000"]',
            "vcpus = 1",
            "line 7: key 'machine.nics.0' is 'e1000', wanted 'e1000e', 'igb', 'rtl8139' or 'virtio-net-pci'",
            "Did you mean 'e1000e'?",
        ),
        (
            'ipv4_gateway = "10.0.0.1"',
            'ipv4_gateway = "192.0.2.1"',
            "line 10: section 'network': ipv4_gateway 10.0.0.1 does not lie in 192.0.2.0/24",
            None,
        ),
        (
            'name = "Not A Name"',
            'name = "small"',
            "line 2: key 'name' is 'Not A Name', wanted text that matches '^[a-z0-9][a-z0-9-]{0,30}$'",
            None,
        ),
    ],
)
def test_a_wrong_key_or_value_is_named(write, wrong, right, message, hint):
    path = write(GOOD.replace(right, wrong))

    with pytest.raises(ConfigError) as caught:
        load_profile(path)

    assert caught.value.message == f"'{path}', {message}."
    if hint is None:
        assert "is an example that works" in (caught.value.hint or "")
    else:
        assert caught.value.hint == hint
    assert caught.value.exit_code == 2


INSTALLED = (
    GOOD.replace("vcpus = 1", 'vcpus = 1\nfirmware = "efi"')
    + """
[install]
editions = ["Small Edition"]
disk_gib = 4
memory_mib = 512
[install.stages]
setup-started = { expected_seconds = 30, stall_seconds = 300 }
ready = { expected_seconds = 60, stall_seconds = 600 }
"""
)


def test_the_stages_of_an_installed_guest_keep_their_order(write):
    install = load_profile(write(INSTALLED)).install

    assert install is not None
    assert list(install.stages) == ["setup-started", "ready"]
    assert install.stages["ready"].stall_seconds == 600


@pytest.mark.parametrize(
    ("right", "wrong", "message", "hint"),
    [
        (
            "ready = { expected_seconds",
            "ready = { expected",
            "line 21: key 'install.stages.ready.expected' is not known (1 more error in this file)",
            "Did you mean 'expected_seconds'?",
        ),
        ("disk_gib = 4", "disk = 4", "line 17: key 'install.disk' is not known (1 more error in this file)",
         "Did you mean 'disk_gib'?"),
        ('firmware = "efi"', 'firmware = "bios"',
         ": a section [install] needs machine.firmware = 'efi', which is 'bios'", None),
        ('firmware = "efi"', 'firmware = "bios"\nsecure_boot = true',
         "line 4: section 'machine': secure_boot needs firmware = 'efi', which is 'bios'", None),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_installed_guest_is_named(write, right, wrong, message, hint):
    path = write(INSTALLED.replace(right, wrong))

    with pytest.raises(ConfigError) as caught:
        load_profile(path)

    assert message in caught.value.message
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            'kind = "x"\nname = \nx = 1\n',
            "line 2, column 8, key 'name': this is not valid TOML: Invalid value.",
            "The line is: name =",
        ),
        (
            "[machine\nvcpus = 1\n",
            "line 1, column 9: this is not valid TOML: Expected ']' at the end of a table declaration.",
            "The line is: [machine",
        ),
        (
            "[machine]\nnics = [1",
            "line 2, key 'nics': this is not valid TOML: Unclosed array.",
            "The line is: nics = [1 (or an earlier one opens what is never closed).",
        ),
        (
            "x = 1\nx = 2",
            "line 2, key 'x': this is not valid TOML: Cannot overwrite a value.",
            "A key is given twice, or a section is also a key.",
        ),
    ],
)
def test_malformed_toml_names_the_line_and_the_key(write, text, message, hint):
    path = write(text)

    with pytest.raises(ConfigError) as caught:
        load_profile(path)

    assert caught.value.message == f"'{path}', {message}"
    assert caught.value.hint == hint


def test_text_that_is_not_utf8_is_said_to_be_so(tmp_path):
    path = tmp_path / "guest.toml"
    path.write_bytes(b'name = "\xff"')

    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_profile(path)


def test_an_unknown_name_says_what_was_probably_meant():
    with pytest.raises(ConfigError) as caught:
        load_profile("referense")

    assert str(caught.value) == "There is no profile 'referense'. Hint: Did you mean 'reference'?"


def test_an_unknown_name_far_from_all_lists_the_known_ones(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "guest.toml").write_text(GOOD)

    with pytest.raises(ConfigError) as caught:
        load_profile("xyzzy", root=tmp_path)

    assert caught.value.hint == "Known profiles: one, two."


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"^There is no profile at 'no/such\.toml'\."):
        load_profile("no/such.toml")


def test_the_file_cannot_set_where_it_came_from(write):
    with pytest.raises(ConfigError, match="key 'path' is not known"):
        load_profile(write('path = "/elsewhere"\n' + GOOD))


def test_a_profile_from_elsewhere_means_the_image_and_the_functions_of_its_name(tmp_path):
    path = tmp_path / "large.toml"
    path.write_text(load_profile("reference").path.read_text().replace("memory_mib = 768", "memory_mib = 1024"))

    profile = load_profile(path)

    assert profile.machine.memory_mib == 1024
    assert profile.folder == load_profile("reference").path.parent
    assert (profile.folder / "imports.json").is_file()


def test_a_run_may_ask_for_another_number_of_processors(write):
    profile = load_profile(write(GOOD))

    assert profile.with_vcpus(None) == profile
    assert profile.with_vcpus(2).machine.vcpus == 2
    assert profile.machine.vcpus == 1
    for wrong in (0, 65):
        with pytest.raises(UsageError, match=f"{wrong} processors was asked for, wanted 1 to 64"):
            profile.with_vcpus(wrong)


def test_the_document_has_every_key_of_a_profile():
    text = (profiles_root().parent / "docs" / "profiles.md").read_text()
    sections = {"machine": MachineSettings, "boot": BootSettings, "management": ManagementSettings,
                "network": NetworkSettings, "install": InstallSettings}  # fmt: skip
    wanted = {*sections, *Profile.model_fields, *StageSettings.model_fields} - {"path"}
    for section in sections.values():
        wanted |= set(section.model_fields)

    assert sorted(key for key in wanted if f"`{key}`" not in text and f"`[{key}]`" not in text) == []
