"""What the stand-in medium is put together from; that it boots and installs is for the tests with machines."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.images.install.rehearsal import EDITIONS, _extents, _find_system, _options, _unsigned, _write_wim
from harness.media import read_wim
from harness.waiting import Deadline


def test_only_what_is_no_hole_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        for place in (1 << 20, 5 << 20):
            file.seek(place)
            file.write(b"x" * 8192)
        file.truncate(9 << 20)
    found = _extents(path)
    content = path.read_bytes()
    assert b"".join(content[start : start + length] for start, length in found).strip(b"\0").count(b"x") == 16384
    assert sum(length for _, length in found) < 1 << 20


def test_a_module_loses_its_signature_and_nothing_else() -> None:
    module, words = b"\x7fELF and code", b"~Module signature appended~\n"
    signature = b"s" * 300
    signed = module + signature + bytes(8) + len(signature).to_bytes(4, "big") + words
    assert _unsigned(signed) == module
    assert _unsigned(module) == module


def test_the_archive_has_each_edition_and_the_system_in_one_piece(tmp_path: Path) -> None:
    tree, wim = tmp_path / "tree", tmp_path / "install.wim"
    (tree / "boot").mkdir(parents=True)
    system = bytes(range(256)) * 4096
    (tree / "system.img").write_bytes(system)
    (tree / "boot" / "options").write_text("quiet")
    _write_wim(tree, wim, Deadline(60))
    with wim.open("rb") as stream:
        images = read_wim(stream).images
    assert [(image.name, image.edition_id, image.architecture) for image in images] == [
        (name, edition, "amd64") for name, edition in EDITIONS
    ]
    offset, size = _find_system(wim)
    assert size == len(system)
    assert wim.read_bytes()[offset : offset + size] == system
    subprocess.run(["wimlib-imagex", "verify", wim], check=True, capture_output=True, timeout=60)


def test_the_installed_system_is_started_as_the_reference_guest_is() -> None:
    words = _options().split()
    assert "console=ttyS0" in words
    assert not [word for word in words if word.startswith("root=")]
