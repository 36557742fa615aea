"""Stages: what the guest's lines mean, and how far an installation is."""

from __future__ import annotations

import pytest

from harness.config import StageSettings, known_profiles, load_profile
from harness.images.install import stages
from harness.images.install.stages import Progress, Sign, SignReader, total_seconds

NAMES = ("setup-started", "specialize", "oobe", "sealed", "ready")
TIMES = {name: StageSettings(expected_seconds=10 * place, stall_seconds=100 * place) for place, name in
         enumerate(NAMES, 1)}  # fmt: skip


def stage(name: str) -> Sign:
    return Sign(kind="stage", stage=name)


def test_lines_are_found_in_pieces_between_other_output():
    reader = SignReader()

    assert reader.feed("\x1b[2J\x1b[01;01HBdsDxe: loading\r\nwfp-hil: sta") == []
    assert reader.feed("ge setup-started \r\nwfp-hil: failed winrm: access is denied\r\nwfp-hil: fai") == [
        stage("setup-started"),
        Sign(kind="failed", stage="winrm", text="access is denied"),
    ]
    assert reader.feed("led: no NIC\nwfp-hil: ready\n") == [
        Sign(kind="failed", stage="", text="no NIC"),
        Sign(kind="ready", stage="ready"),
    ]


@pytest.mark.parametrize(
    "line", ["wfp-hil: stage\n", "wfp-hil: stage Wrong\n", "stage specialize\n", "wfp-hil: readyish\n"]
)
def test_other_lines_mean_nothing(line):
    assert SignReader().feed(line) == []


def test_times_are_those_of_the_awaited_stage_and_stretched():
    progress = Progress(TIMES, 20)

    assert (progress.awaited, progress.expected_seconds(), progress.stall_seconds()) == ("setup-started", 200, 2000)
    assert progress.see(stage("setup-started"))
    assert (progress.awaited, progress.expected_seconds()) == ("specialize", 400)
    assert progress.remaining_seconds() == 20 * (20 + 30 + 40 + 50)
    assert total_seconds(TIMES, 1) == 150


def test_a_stage_may_be_skipped_and_none_goes_back():
    progress = Progress(TIMES, 1)

    assert progress.see(stage("oobe"))
    assert progress.awaited == "sealed"
    assert not progress.see(stage("specialize"))
    assert not progress.see(stage("oobe"))
    assert not progress.see(stage("unheard-of"))
    assert progress.reached == ["oobe"]


def test_ready_counts_after_the_stage_before_it_alone():
    progress = Progress(TIMES, 1)
    ready = Sign(kind="ready", stage="ready")

    progress.see(stage("oobe"))
    assert not progress.see(ready)
    progress.see(stage("sealed"))
    assert progress.see(ready)
    assert progress.awaited is None
    assert progress.number == progress.count == len(NAMES)


def test_the_first_stage_again_is_a_new_beginning():
    progress = Progress(TIMES, 1)

    assert not progress.begins_anew(stage("setup-started"))
    progress.see(stage("setup-started"))
    assert not progress.begins_anew(stage("setup-started"))
    progress.see(stage("specialize"))
    assert progress.begins_anew(stage("setup-started"))


def test_a_doubt_about_this_installation_comes_before_what_is_usual():
    doubtful = Progress(TIMES, 1, ["setup-started"], doubts={"specialize": "The product key is of another edition"})

    assert doubtful.likely_cause() == "The product key is of another edition"
    assert Progress(TIMES, 1, ["setup-started"]).likely_cause().startswith("Setup stopped while it copied files")


def test_an_interrupted_installation_goes_on_from_its_stage():
    assert Progress(TIMES, 1, ["setup-started", "specialize"]).awaited == "oobe"


@pytest.mark.parametrize(
    "name", [name for name in known_profiles() if (found := load_profile(name)).install and found.kind == "windows"]
)
def test_each_stage_of_windows_has_a_likely_cause_and_ready_comes_last(name):
    install = load_profile(name).install
    progress = Progress(install.stages, 1)

    assert list(install.stages)[-1] == "ready"
    for stage_name in install.stages:
        assert progress.awaited == stage_name
        assert progress.likely_cause() != stages._UNKNOWN_CAUSE, stage_name
        progress.see(Sign(kind="ready" if stage_name == "ready" else "stage", stage=stage_name))
