"""The set-up scripts: a stage that fails is a failure, and who may not install packages is told which."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import doctor
from harness.process import Completed, run

ROOT = Path(__file__).parents[1]


def stage(body: str) -> Completed:
    script = f"set -euo pipefail; . scripts/stage.sh; work() {{ {body}; }}; stage 'a title' work; echo after"
    return run(["bash", "-c", script], cwd=ROOT, env={**os.environ, "LC_ALL": "C"}, check=False)


def test_a_stage_ends_at_its_first_failure_and_shows_what_was_said() -> None:
    done = stage("echo said; false; echo went on")

    assert done.exit_code == 3
    assert "a title" in done.stdout
    assert "FAILED after" in done.stdout
    assert "after\n" not in done.stdout.splitlines(keepends=True)
    assert done.stderr.startswith("said\nerror: the stage 'a title' failed with code 1; its whole output is in /")
    Path(done.stderr.rpartition(" in ")[2].strip().rstrip(".")).unlink()


def test_a_stage_that_works_is_silent_and_the_script_goes_on() -> None:
    done = stage("echo said")

    assert done.exit_code == 0
    assert done.stderr == ""
    assert "said" not in done.stdout
    assert done.stdout.endswith(" s\nafter\n")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which no package is installed, for a user without rights."""
    for name, body in {"dpkg-query": "exit 1", "apt-get": "exit 0", "id": "echo 1000", "sudo": "exit 1"}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_a_user_who_may_not_install_packages_is_told_which_are_missing(path: str) -> None:
    done = run(["scripts/setup.sh"], cwd=ROOT, env={**os.environ, "LC_ALL": "C", "PATH": path}, check=False)

    assert done.exit_code == 3
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: These packages are missing, and this user may not install them: debian-archive-")
    assert hint.startswith("hint: As root: apt-get install --no-install-recommends debian-archive-keyring e2fsprogs ")


def test_every_tool_that_the_doctor_wants_is_installed_by_the_set_up() -> None:
    lines = (ROOT / "scripts" / "packages.txt").read_text().splitlines()
    packages = [line.split()[0] for line in lines if not line.startswith("#")]

    assert packages == sorted(packages)
    assert all(line.partition("#")[2].strip() for line in lines), "each package has its reason"
    assert set(doctor._TOOLS.values()) <= set(packages)
