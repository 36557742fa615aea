"""Images that were installed: which one a run gets, and what is said when there is none that can be used."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from harness import steps
from harness.config import load_profile
from harness.errors import UsageError
from harness.images import ensure, wanted_hashes
from harness.images.cache import list_images, load_image
from harness.images.installed import FORMAT, find_installed, recipe_hash

RECIPE = recipe_hash(load_profile("windows-11"))
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def make(cache):
    def make(hash="0123456789ab", *, built=NOW, name="windows-11", **manifest):
        folder = cache / "images" / f"{name}-{hash}"
        (folder / "secrets").mkdir(parents=True)
        (folder / "secrets" / "winrm.json").write_text("{}")
        for file in ("disk.qcow2", "nvram.qcow2"):
            (folder / file).write_bytes(b"12345")
        manifest = {
            "name": name, "hash": hash, "format": FORMAT, "built": built.isoformat(), "recipe": RECIPE, "tpm": True,
            "files": {"disk.qcow2": 5, "nvram.qcow2": 5}, "system": {"edition_id": "Enterprise"}, **manifest,
        }  # fmt: skip
        (folder / "image.json").write_text(json.dumps(manifest))
        return folder

    return make


@pytest.fixture
def notes():
    seen: list[str] = []
    stop = steps.subscribe(lambda event: seen.append(event.title) if event.kind == "note" else None)
    yield seen
    stop()


def test_an_installed_image_boots_by_its_firmware(make):
    image = load_image(make())

    assert image is not None
    assert image.kernel is None
    assert image.initrd is None
    assert image.nvram == image.path / "nvram.qcow2"
    assert image.tpm == image.path / "tpm"


def test_an_image_whose_nvram_is_cut_short_is_not_complete(make):
    folder = make()
    (folder / "nvram.qcow2").write_bytes(b"1")

    assert load_image(folder) is None


def test_the_newest_image_is_taken_and_kept(make):
    make("aaaaaaaaaaaa", built=NOW - dt.timedelta(days=3))
    newest = make("bbbbbbbbbbbb")
    make("cccccccccccc", name="windows-10", built=NOW - dt.timedelta(days=9))

    assert find_installed(load_profile("windows-11")).path == newest
    assert ensure("windows-11").path == newest
    assert {"bbbbbbbbbbbb", "cccccccccccc"} <= wanted_hashes()
    assert "aaaaaaaaaaaa" not in wanted_hashes()


def test_without_an_image_the_command_that_builds_one_is_named(cache):
    with pytest.raises(UsageError) as caught:
        ensure("windows-11")

    assert caught.value.message == "There is no image of 'windows-11' yet: it is installed from a medium of yours."
    assert caught.value.hint == "wfp-hil image build windows-11 --iso FILE"


def test_an_image_of_another_version_of_the_project_is_not_used(make):
    make(format=FORMAT + 1)

    with pytest.raises(UsageError) as caught:
        ensure("windows-11")

    assert caught.value.message == (
        "The image of 'windows-11' was built by another version of this project: its format is 2, wanted 1."
    )
    assert list_images()  # it is not thrown away unasked


def test_an_image_from_other_scripts_is_used_with_a_word_about_it(make, notes):
    make("aaaaaaaaaaaa", recipe="another")
    profile = load_profile("windows-11")

    find_installed(profile)
    assert "was built from other scripts or settings" in notes[-1]
    notes.clear()
    make("bbbbbbbbbbbb", built=NOW + dt.timedelta(days=1))
    find_installed(profile)
    assert notes == []


def test_what_goes_into_a_guest_is_its_recipe_and_its_times_are_not():
    profile = load_profile("windows-11")
    patient = profile.install.model_copy(update={"tcg_factor": 99.0})
    larger = profile.install.model_copy(update={"disk_gib": 99})

    assert recipe_hash(profile.model_copy(update={"install": patient})) == recipe_hash(profile)
    assert recipe_hash(profile.model_copy(update={"install": larger})) != recipe_hash(profile)
    assert recipe_hash(load_profile("windows-10")) != recipe_hash(profile)


@pytest.mark.parametrize(("kind", "days"), [("Client", 90), ("Server Core", 180)])
def test_an_evaluation_expires_and_is_announced_before(make, notes, kind, days):
    make(system={"edition_id": "EnterpriseEval", "installation_type": kind})
    profile = load_profile("windows-11")

    find_installed(profile, now=NOW + dt.timedelta(days=days - 20))
    assert notes == []
    find_installed(profile, now=NOW + dt.timedelta(days=days - 3))
    assert "expires in 3 days" in notes[-1]
    with pytest.raises(UsageError, match=r"expired on 2026-\d\d-\d\d: it would switch itself off every hour") as caught:
        find_installed(profile, now=NOW + dt.timedelta(days=days, seconds=1))
    assert "--restart" in (caught.value.hint or "")
