"""A bundle holds what it lists and nothing else; one that does not is refused before anything is written."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.minimise.bundle import FORMAT, MANIFEST, is_bundle, pack, unpack

FACTS = {"until": "crash", "seed": 7}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    capture, driver = tmp_path / "field.pcapng", tmp_path / "my driver.sys"
    capture.write_bytes(b"packets" * 100)
    driver.write_bytes(b"MZ" + bytes(1000))
    return pack(tmp_path / "bug.zip", {"capture": capture, "driver": driver}, FACTS)


def changed(packed: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """The bundle with another manifest or other contents, as somebody else might send it."""
    with zipfile.ZipFile(packed) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(contents.pop(MANIFEST))
    change(manifest, contents)
    other = packed.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name, data in contents.items():
            archive.writestr(name, data)
    return other


def refusal(bundle: Path) -> str:
    """What is said of it; nothing may have been written."""
    folder = bundle.parent / "unpacked"
    with pytest.raises(UsageError) as refused:
        unpack(bundle, folder)
    assert not folder.exists()
    return refused.value.message


def test_what_was_packed_comes_out(packed: Path, tmp_path: Path) -> None:
    assert is_bundle(packed)
    bundle = unpack(packed, tmp_path / "unpacked")
    assert bundle.file("capture").read_bytes() == b"packets" * 100
    assert bundle.file("driver").name == "my_driver.sys"
    assert {key: bundle.facts[key] for key in FACTS} == FACTS
    with pytest.raises(UsageError, match="has no profile"):
        bundle.file("profile")


def test_the_same_files_make_the_same_bundle(packed: Path, tmp_path: Path) -> None:
    files = {"capture": tmp_path / "field.pcapng", "driver": tmp_path / "my driver.sys"}
    assert pack(tmp_path / "again.zip", files, FACTS).read_bytes() == packed.read_bytes()


def test_a_newer_format_is_refused(packed: Path) -> None:
    assert f"has format {FORMAT + 1}, this wfp-hil reads up to {FORMAT}" in refusal(
        changed(packed, lambda manifest, contents: manifest.update(format=FORMAT + 1))
    )


@pytest.mark.parametrize("format_said", [0, -1, "1", None, True, 1.0])
def test_a_format_that_is_none_is_refused(packed: Path, format_said: object) -> None:
    assert "format" in refusal(changed(packed, lambda manifest, contents: manifest.update(format=format_said)))


def test_another_content_is_refused(packed: Path) -> None:
    def swap(manifest: dict[str, Any], contents: dict[str, bytes]) -> None:
        contents["my_driver.sys"] = b"MZ" + bytes(999) + b"!"

    assert "is not the file that was packed: its SHA-256 is another" in refusal(changed(packed, swap))


@pytest.mark.parametrize(
    "name", ["../evil.sys", "/etc/passwd", "a/b.sys", "..", "c:evil", "a\\b", ".ssh", "x" * 200, "a\nb", "évil"]
)
def test_a_name_that_leads_elsewhere_is_refused(packed: Path, name: str) -> None:
    def add(manifest: dict[str, Any], contents: dict[str, bytes]) -> None:
        contents[name] = b"x"
        manifest["files"][name] = {
            "size": 1,
            "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        }

    said = refusal(changed(packed, add))
    assert "which no bundle of ours would hold" in said or "does not hold what its manifest lists" in said
    assert not (packed.parent / "evil.sys").exists()


def test_what_is_not_listed_or_not_there_is_refused(packed: Path) -> None:
    def hide(manifest: dict[str, Any], contents: dict[str, bytes]) -> None:
        del manifest["files"]["field.pcapng"]

    def lose(manifest: dict[str, Any], contents: dict[str, bytes]) -> None:
        del contents["field.pcapng"]

    for change in (hide, lose):
        assert "does not hold what its manifest lists: field.pcapng" in refusal(changed(packed, change))


def test_a_file_that_swells_is_stopped_at_its_size(packed: Path) -> None:
    """A megabyte of zeros where ten bytes are announced: no more of it than that is unpacked."""

    def swell(manifest: dict[str, Any], contents: dict[str, bytes]) -> None:
        contents["field.pcapng"] = bytes(1 << 20)
        manifest["files"]["field.pcapng"]["size"] = 10

    assert "is larger than the 10 bytes it may be" in refusal(changed(packed, swell))


@pytest.mark.parametrize("about", [{}, {"size": 1 << 40, "sha256": ""}, {"size": -1, "sha256": ""}, "x", None])
def test_sizes_that_make_no_sense_are_refused(packed: Path, about: object) -> None:
    assert "no right size and hash" in refusal(
        changed(packed, lambda manifest, contents: manifest["files"].update({"field.pcapng": about}))
    )


def test_the_whole_has_a_limit(packed: Path) -> None:
    def swell(manifest: dict[str, Any], contents: dict[str, bytes]) -> None:
        for number in range(3):
            contents[f"f{number}"] = b""
            manifest["files"][f"f{number}"] = {"size": 250 << 20, "sha256": ""}

    assert "MiB, 512 are allowed" in refusal(changed(packed, swell))


def test_other_zips_and_no_zips_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert f"it has no {MANIFEST}" in refusal(other)
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    assert not is_bundle(text)
    assert "cannot be read" in refusal(text)
    assert not is_bundle(tmp_path / "missing")


@given(cut=st.integers(0, 2000), at=st.integers(0, 2000), bit=st.integers(0, 7))
def test_damage_is_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, bit: int) -> None:
    """One bit turned, or the end cut off: it is refused, or what comes out is what was packed."""
    folder = tmp_path_factory.mktemp("damage")
    source = folder / "field.pcapng"
    source.write_bytes(b"packets" * 100)
    raw = bytearray(pack(folder / "bug.zip", {"capture": source}, FACTS).read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    damaged = folder / "damaged.zip"
    damaged.write_bytes(raw[: len(raw) - cut % 40])
    try:
        bundle = unpack(damaged, folder / "out")
    except UsageError:
        assert not (folder / "out").exists()
        return
    assert bundle.file("capture").read_bytes() == b"packets" * 100
