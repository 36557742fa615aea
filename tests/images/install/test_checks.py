"""What an installation needs of the host, and what is said where it lacks."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from harness import steps
from harness.config import load_profile
from harness.errors import HostError, UsageError
from harness.hypervisor import Accelerator
from harness.images.install import checks

TCG = Accelerator(kind="tcg", reason="There is no /dev/kvm.")
KVM = Accelerator(kind="kvm", reason="")
WINDOWS = load_profile("windows-11")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """A host with all that is needed; each test takes one thing away."""
    for name in ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"):
        (tmp_path / name).touch()
    monkeypatch.setattr(checks, "find_firmware", lambda machine: None)
    monkeypatch.setattr(checks, "find_tool", lambda name: tmp_path)
    monkeypatch.setattr(checks, "free_memory_mib", lambda: 100_000)
    monkeypatch.setattr(checks, "choose_accelerator", lambda wanted: KVM)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1 << 50))
    return monkeypatch


def test_a_host_with_all_of_it_is_good_enough(tmp_path):
    checks.check_host(WINDOWS, tmp_path / "not" / "made" / "yet")
    assert checks.choose_factor(WINDOWS, slow=False) == 1


def test_without_kvm_it_says_how_long_it_takes_and_stops(host):
    host.setattr(checks, "choose_accelerator", lambda wanted: TCG)

    with pytest.raises(UsageError) as caught:
        checks.choose_factor(WINDOWS, slow=False)

    minutes = sum(stage.expected_seconds for stage in WINDOWS.install.stages.values()) / 60
    assert caught.value.message == (
        f"KVM does not work here, and without it the installation takes about {minutes * 20 / 60:.0f} hours instead of "
        f"{minutes:.0f} minutes. There is no /dev/kvm."
    )
    assert "--slow" in (caught.value.hint or "")


def test_slow_goes_on_all_the_same_and_says_so(host):
    host.setattr(checks, "choose_accelerator", lambda wanted: TCG)
    seen: list[str] = []
    stop = steps.subscribe(lambda event: seen.append(event.title))

    assert checks.choose_factor(WINDOWS, slow=True) == WINDOWS.install.tcg_factor
    stop()
    assert "without KVM this takes about" in seen[-1]


def test_a_guest_that_is_as_quick_without_kvm_needs_no_word(host):
    host.setattr(checks, "choose_accelerator", lambda wanted: TCG)

    assert checks.choose_factor(load_profile("rehearsal"), slow=False) == 1


def test_too_little_memory(host, tmp_path):
    host.setattr(checks, "free_memory_mib", lambda: 3000)

    with pytest.raises(HostError, match=r"^Installing 'windows-11' needs 4396 MiB of memory and 3000 MiB are free\."):
        checks.check_host(WINDOWS, tmp_path)


def test_too_little_disk(host, tmp_path):
    host.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10 << 30))

    with pytest.raises(HostError, match=r"^Installing 'windows-11' needs \d+ MiB on disk and '.*' has 10240 MiB\."):
        checks.check_host(WINDOWS, tmp_path)


def test_a_tpm_needs_swtpm(host, tmp_path):
    host.setattr(checks, "find_tool", lambda name: None)

    with pytest.raises(HostError, match="The guest has a TPM, and the program 'swtpm'"):
        checks.check_host(WINDOWS, tmp_path)


def test_a_guest_that_is_not_installed_takes_no_medium():
    with pytest.raises(UsageError, match="'reference' is not installed from a medium"):
        checks.install_settings(load_profile("reference"))


def test_a_medium_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"^There is no installation medium at '.*nowhere\.iso'\."):
        checks.check_readable(tmp_path / "nowhere.iso", "installation medium")
