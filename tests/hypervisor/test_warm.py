"""Kept states of booted machines: which machine one fits, and what happens to those that fit none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness import process, steps
from harness.hypervisor import warm

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "reference-0123456789ab"
    folder.mkdir()
    for name in ("disk.qcow2", "vmlinuz", "initrd.img", "qemu"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    path = tmp_path / "overlay.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"])
    return path


def state_of(image: Path, *, machine: str = "<domain/>") -> warm.WarmState:
    files = [image / name for name in ("disk.qcow2", "vmlinuz", "initrd.img")]
    return warm.find_state(image=files, machine=machine, emulator=image / "qemu", kvm=False)


def test_the_same_machine_finds_what_was_kept_of_it(image: Path, overlay: Path, tmp_path: Path) -> None:
    state_of(image).keep([overlay])

    assert state_of(image).take([tmp_path / "again.qcow2"])
    assert (tmp_path / "again.qcow2").read_bytes() == overlay.read_bytes()
    assert state_of(image).folder.stat().st_mode & 0o777 == 0o700  # the memory in it holds keys


def test_another_machine_finds_nothing(image: Path, overlay: Path, tmp_path: Path) -> None:
    state_of(image).keep([overlay])

    assert not state_of(image, machine="<domain><memory/></domain>").take([tmp_path / "again.qcow2"])
    assert not (tmp_path / "again.qcow2").exists()


@pytest.mark.parametrize("name", ["disk.qcow2", "vmlinuz", "initrd.img", "qemu"])
def test_a_file_made_again_with_the_same_size_fits_no_more(image: Path, name: str) -> None:
    before = state_of(image).path
    again = image / "new"
    again.write_text(name)
    again.replace(image / name)
    os.utime(image / name, ns=(1, 1))

    assert state_of(image).path != before


def test_what_is_no_whole_disk_is_not_kept_and_no_error(image: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.qcow2"
    torn.write_bytes(b"QFI\xfb" + bytes(20))
    notes: list[str] = []
    unsubscribe = steps.subscribe(lambda event: notes.append(event.title))

    state_of(image).keep([torn])
    unsubscribe()

    assert not state_of(image).path.exists()
    assert list(state_of(image).folder.iterdir()) == []
    assert "was not kept" in notes[0]


def test_keeping_one_removes_those_of_older_images_and_halves_of_the_dead(image: Path, overlay: Path) -> None:
    folder = state_of(image).folder
    folder.mkdir(parents=True)
    names = {
        "older": "reference-ba9876543210-0123456789abcdef.qcow2",
        "other": "windows-ba9876543210-0123456789abcdef.qcow2",
        "sister": "reference-0123456789ab-0123456789abcdef.qcow2",
        "dead": f"windows-1-2.{2**22 + 1}.half",
        "alive": f"windows-1-2.{os.getpid()}.half",
    }
    for name in names.values():
        (folder / name).touch()

    state_of(image).keep([overlay])

    left = {key for key, name in names.items() if (folder / name).exists()}
    assert left == {"other", "sister", "alive"}
    assert state_of(image).path.exists()
