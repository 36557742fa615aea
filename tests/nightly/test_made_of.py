"""What a cell's results depend on: each change of it is noticed and named, and what does not matter is no reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from harness.config import load_profile
from harness.images import wanted_hash
from harness.images.recipe import load_recipe
from harness.nightly import made_of
from harness.nightly.budget import Cost
from harness.nightly.estimate import Expected
from harness.nightly.made_of import Ingredients, why_again
from harness.nightly.night import open_night, planned
from harness.nightly.state import FILE, read_state, resumed, write_state
from harness.nightly.table import show_plan
from tests.nightly.stand_in import make_cell

SELECTED = ("scenarios/redirect/test_a.py::test_one", "scenarios/redirect/test_a.py::test_two[x]")
FILES = (
    "pyproject.toml",
    "scenarios/conftest.py",
    "scenarios/README.md",
    "scenarios/redirect/test_a.py",
    "scenarios/redirect/test_b.py",
    "scenarios/redirect/matrix.toml",
    "scenarios/redirect/frames/syn.bin",
    "scenarios/flow/conftest.py",
    "driver.toml",
    "harness/expect/fence.py",
    "harness/nightly/pool.py",
    "harness/report/page/page.js",
    "harness/expect/__pycache__/fence.pyc",
    "drivers/callout/classify.c",
    "drivers/callout/wfpcallout.inf",
    "drivers/build/wfpcallout.sys",
    "builds/acme.sys",
    "builds/acme.inf",
    "builds/other.inf",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(made_of, "project_root", lambda: tmp_path)
    monkeypatch.setattr(made_of, "drivers_root", lambda: tmp_path / "drivers")
    monkeypatch.setattr(made_of, "wanted_hash", lambda name: "image of " + name)
    return tmp_path


@pytest.fixture
def digests(project: Path) -> Callable[..., dict[str, str]]:
    def digests(**changed: object) -> dict[str, str]:
        asked = {
            "profile": load_profile("reference"), "driver": project / "builds" / "acme.sys", "scenarios": SELECTED,
            "options": ("--guest", "reference"), "words": ("scenarios/redirect", "--driver-facts=driver.toml"),
        }  # fmt: skip
        return Ingredients().of(**(asked | changed))

    return digests


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("scenarios/redirect/test_a.py", ["scenarios"]),
        ("scenarios/redirect/matrix.toml", ["scenarios"]),
        ("scenarios/redirect/frames/syn.bin", ["scenarios"]),
        ("scenarios/conftest.py", ["scenarios"]),
        ("pyproject.toml", ["scenarios"]),
        ("driver.toml", ["scenarios"]),
        ("harness/expect/fence.py", ["harness"]),
        ("drivers/callout/classify.c", ["tools"]),
        ("drivers/callout/wfpcallout.inf", ["tools"]),
        ("builds/acme.sys", ["driver"]),
        ("builds/acme.inf", ["driver"]),
        # What no result of this cell can depend on.
        ("scenarios/redirect/test_b.py", []),
        ("scenarios/flow/conftest.py", []),
        ("scenarios/README.md", []),
        ("harness/nightly/pool.py", []),
        ("harness/report/page/page.js", []),
        ("harness/expect/__pycache__/fence.pyc", []),
        ("drivers/build/wfpcallout.sys", []),
        ("builds/other.inf", []),
    ],
)
def test_a_file_that_changed_is_found_in_its_part_alone(project: Path, digests, file: str, parts: list[str]) -> None:
    before = digests()
    with (project / file).open("a") as changed:
        changed.write("more")

    now = digests()

    assert all(before.values())
    assert [part for part in now if now[part] != before[part]] == parts
    assert why_again(before, now) == (f"changed since: {made_of.PARTS[parts[0]]}" if parts else "")


def test_files_that_come_and_go_are_changes_too(project: Path, digests) -> None:
    before = digests()
    (project / "scenarios" / "redirect" / "more.toml").touch()
    (project / "builds" / "acme.inf").unlink()

    assert why_again(before, digests()) == "changed since: the driver, the files of its scenarios"


def test_what_is_asked_for_is_a_part_of_it(digests, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests()

    assert why_again(before, digests(options=("--guest", "reference", "--fresh", "module"))) == (
        "changed since: what its run is told"
    )
    assert why_again(before, digests(scenarios=SELECTED[:1])) == "changed since: which scenarios it has"
    assert why_again(before, digests(profile=load_profile("reference").with_vcpus(2))) == (
        "changed since: the guest's profile"
    )
    assert why_again(before, digests(driver=None)) == "changed since: the driver"
    monkeypatch.setattr(made_of, "wanted_hash", lambda name: "another")
    assert why_again(before, digests()) == "changed since: the guest's image"


def test_what_cannot_be_read_is_never_taken_for_the_same(digests, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where it could not be read the time before either."""
    monkeypatch.setattr(made_of, "wanted_hash", lambda name: "")
    unknown = digests(scenarios=("elsewhere/test_a.py::test",))

    assert why_again(unknown, unknown) == "cannot be compared: the guest's image, the files of its scenarios"


def test_scenarios_of_another_project_are_found_by_the_words_that_name_them(project: Path, digests, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    (away / "cases").mkdir()
    (away / "cases" / "test_a.py").write_text("1")
    asked = {"scenarios": ("cases/test_a.py::test_it",), "words": (str(away / "cases"), "-q")}
    before = digests(**asked)
    (away / "cases" / "test_a.py").write_text("2")

    assert before["scenarios"]
    assert why_again(before, digests(**asked)) == "changed since: the files of its scenarios"


def test_the_image_is_the_one_that_a_run_would_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path))  # where nothing is installed

    assert wanted_hash("reference") == load_recipe("reference").image_hash()
    assert wanted_hash("windows-11") == ""
    assert wanted_hash("a-guest-of-somebody") == ""


def test_the_night_of_an_earlier_version_opens_and_its_cells_run_again(tmp_path: Path) -> None:
    cell = {"id": "cell0", "fingerprint": "0123456789abcdef", "axes": {"guest": "cell0"}, "stage": "finished",
            "runs": 1, "folder": "cells/cell0", "scenarios": 1, "exit_code": 0, "started": "", "seconds": 2.0,
            "reason": ""}  # fmt: skip
    night = {"version": 1, "matrix": "/m.toml", "title": "m", "started": "x", "ended": "", "cells": [cell]}
    (tmp_path / FILE).write_text(json.dumps(night))

    old = read_state(tmp_path)
    (again,) = resumed(old, [make_cell("cell0", "pass")]).cells

    assert (old.version, old.cells[0].seconds, old.cells[0].made_of) == (2, 2.0, {})
    assert (again.stage, again.runs) == ("waiting", 1)
    assert again.again == "an earlier wfp-hil ran it, and did not write down what it was made of"


def test_the_plan_says_why_a_finished_cell_is_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matrix, cells = tmp_path / "m.toml", [make_cell("kept", "pass"), make_cell("other", "pass")]
    with open_night(tmp_path, matrix, "m", cells, again=False) as (folder, state):
        for each in state.cells:
            each.stage, each.exit_code, each.runs = "finished", 0, 1
        write_state(folder, state)
    now = [make_cell("kept", "pass"), make_cell("other", "pass", harness="two")]

    state = planned(tmp_path, matrix, "m", now, again=False)
    expected = {cell.id: Expected(1, 1, 1) for cell in now}
    room = Cost(cores=2, memory_mib=8192, disk_mib=1 << 20)
    show_plan(Console(width=120, force_terminal=False), now, state, expected, room)

    said = capsys.readouterr().out
    assert "again: changed since: the harness" in said
    assert "1 cell with 1 scenario, 1 finished before" in said
    assert [each.stage for each in planned(tmp_path, matrix, "m", now, again=True).cells] == ["waiting", "waiting"]
