"""The doctor reports everything, the broken too, and never raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import doctor, process
from harness.cli.doctor import doctor as doctor_command
from harness.doctor import Health
from harness.errors import HostError
from harness.hypervisor import accelerator, connection


@pytest.fixture(autouse=True)
def _no_daemon(monkeypatch, tmp_path):
    monkeypatch.setenv("WFP_HIL_LIBVIRT_URI", "test:///default")
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "not" / "yet"))
    kvm = accelerator.Accelerator(kind="kvm", reason="A small guest ran.")
    monkeypatch.setattr(accelerator, "choose_accelerator", lambda: kvm)


def finding(title: str) -> doctor.Finding:
    return next(each for each in doctor.examine() if each.title == title)


def test_a_missing_tool_names_the_package(monkeypatch):
    monkeypatch.setattr(process, "find_tool", lambda name: None if name == "qemu-img" else Path("/usr/bin") / name)

    assert finding("qemu-img").health is Health.MISSING
    assert finding("qemu-img").hint == "'make setup' installs the Debian package 'qemu-utils'."
    assert finding("make").health is Health.GOOD


def test_libvirt_that_refuses_is_a_finding_and_not_an_error(monkeypatch):
    def refuse(uri: str) -> None:
        raise HostError("libvirt refuses.", hint="Ask nicely.")

    monkeypatch.setattr(connection, "connect", refuse)

    found = finding("libvirt")
    assert (found.health, found.detail, found.hint) == (Health.MISSING, "libvirt refuses.", "Ask nicely.")
    assert finding("room").title == "room"


def test_tcg_is_slow_and_kvm_is_good(monkeypatch):
    assert finding("accelerator").health is Health.GOOD

    tcg = accelerator.Accelerator(kind="tcg", reason="There is no /dev/kvm.")
    monkeypatch.setattr(accelerator, "choose_accelerator", lambda: tcg)
    assert finding("accelerator").health is Health.SLOW
    assert finding("accelerator").detail == "TCG. There is no /dev/kvm."


def test_too_little_room_is_told_in_gibibytes(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1 << 30}))

    assert finding("room").health is Health.MISSING
    assert finding("room").detail.startswith("1.0 GiB free in '")


def test_a_user_who_may_not_build_an_image_is_told_so(monkeypatch):
    assert finding("image build").health is Health.GOOD

    def refuse() -> None:
        raise HostError("No range of numbers.", hint="usermod")

    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(doctor, "check_namespaces", refuse)
    found = finding("image build")
    assert (found.health, found.detail, found.hint) == (Health.MISSING, "No range of numbers.", "usermod")


def test_the_command_ends_with_3_and_names_what_the_main_job_lacks(monkeypatch, capsys):
    monkeypatch.setattr(process, "find_tool", lambda name: None if name == "mke2fs" else Path("/usr/bin") / name)
    with pytest.raises(SystemExit) as ended:
        doctor_command()
    assert ended.value.code == 3
    assert capsys.readouterr().out.splitlines()[-1] == "The main job cannot run on this host: mke2fs."

    monkeypatch.setattr(process, "find_tool", lambda name: Path("/usr/bin") / name)
    with pytest.raises(SystemExit) as ended:
        doctor_command()
    assert ended.value.code == 0


def test_a_host_that_cannot_install_guests_still_runs_the_main_job(monkeypatch):
    monkeypatch.setattr(process, "find_tool", lambda name: None if name == "swtpm" else Path("/usr/bin") / name)
    monkeypatch.setattr(doctor, "find_firmware", lambda machine: None)

    found = finding("installed guests")
    assert (found.health, found.required) == (Health.SLOW, False)
    assert found.detail == "A guest cannot be installed from a medium: swtpm is not there."
