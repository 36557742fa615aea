from __future__ import annotations

import pytest

from harness.hypervisor import disk_io


@pytest.fixture
def sysctl(tmp_path, monkeypatch):
    """The file in which the kernel says who may use io_uring; nothing is remembered."""
    monkeypatch.setattr(disk_io, "_SYSCTL", tmp_path / "io_uring_disabled")
    monkeypatch.setattr(disk_io, "has_io_uring", disk_io.has_io_uring.__wrapped__)
    return tmp_path / "io_uring_disabled"


@pytest.fixture
def qemu_io(tmp_path, monkeypatch):
    """Put a program in the place of qemu-io."""

    def place(script):
        program = tmp_path / "bin" / "qemu-io"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return place


@pytest.mark.parametrize(("script", "works"), [("exit 0", True), ("exit 1", False)])
def test_qemu_itself_tells_whether_it_can(sysctl, qemu_io, script, works):
    qemu_io(f'case "$*" in *"-i io_uring"*) {script};; *) exit 3;; esac')

    assert disk_io.has_io_uring() is works


@pytest.mark.parametrize(("said", "works"), [("0", True), ("1", False), ("2", False)])
def test_what_only_the_privileged_may_use_is_not_used(sysctl, qemu_io, said, works):
    qemu_io("exit 0")
    sysctl.write_text(f"{said}\n")

    assert disk_io.has_io_uring() is works


def test_without_the_program_there_is_none(sysctl, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert disk_io.has_io_uring() is False
