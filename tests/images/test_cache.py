"""Which images count as complete, when two recipes are the same, and what is left after a failure."""

from __future__ import annotations

import errno
import gzip
import json
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness import images
from harness.errors import HostError, ImageBuildError, UsageError
from harness.images import build, cache, recipe
from harness.images.initrd import write_initrd
from harness.images.secrets import make_secrets


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def own_recipe(tmp_path, monkeypatch):
    """A copy of the reference recipe that a test may change."""
    folder = tmp_path / "vm-images" / "reference"
    for part in ("recipe", "init", "winrm"):
        shutil.copytree(recipe.IMAGES_FOLDER / "reference" / part, folder / part)
    (folder / "model").mkdir()
    monkeypatch.setattr(recipe, "IMAGES_FOLDER", tmp_path / "vm-images")
    return recipe.load_recipe("reference")


def make_image(root: Path, name: str, image_hash: str) -> Path:
    path = root / f"{name}-{image_hash}"
    (path / "secrets").mkdir(parents=True)
    (path / "secrets" / "winrm.json").write_text("{}")
    files = {"disk.qcow2": 4, "vmlinuz": 3, "initrd.img": 2}
    for file, size in files.items():
        (path / file).write_bytes(b"x" * size)
    manifest = {"name": name, "hash": image_hash, "built": "2026-01-01", "files": files}
    (path / "image.json").write_text(json.dumps(manifest))
    return path


def test_unknown_recipe_names_the_known_ones():
    with pytest.raises(UsageError, match="no image recipe named 'refrence'") as caught:
        images.ensure("refrence")
    assert "reference" in (caught.value.hint or "")


def test_hash_ignores_where_when_and_what_people_read(own_recipe):
    before = own_recipe.image_hash()
    (own_recipe.model / "README.md").write_text("explains")
    (own_recipe.model / "build").mkdir()
    (own_recipe.model / "build" / "a.o").write_text("made")
    (own_recipe.folder / "guest.toml").write_text("")
    (own_recipe.steps / "packages.txt").touch()
    assert own_recipe.image_hash() == before


@pytest.mark.parametrize("file", ["model/a.c", "winrm/wfp_winrm/http.py", "init/init", "recipe/finish.sh"])
def test_hash_changes_with_what_goes_into_the_image_but_keeps_the_base(own_recipe, file):
    image, base = own_recipe.image_hash(), own_recipe.base_hash()
    with (own_recipe.folder / file).open("a") as changed:
        changed.write("\n")
    assert own_recipe.image_hash() != image
    assert own_recipe.base_hash() == base


def test_a_new_package_changes_base_and_image(own_recipe):
    image, base = own_recipe.image_hash(), own_recipe.base_hash()
    with (own_recipe.steps / "packages.txt").open("a") as packages:
        packages.write("tcpdump\n")
    assert own_recipe.base_hash() != base
    assert own_recipe.image_hash() != image
    assert "tcpdump" in own_recipe.packages


@pytest.mark.parametrize("lost", ["image.json", "disk.qcow2", "vmlinuz", "initrd.img", "secrets/winrm.json"])
def test_an_image_that_lacks_a_file_is_no_image(cache_folder, lost):
    path = make_image(cache_folder, "reference", "a" * 12)
    assert cache.load_image(path) is not None
    (path / lost).unlink()
    assert cache.load_image(path) is None


def test_a_truncated_disk_is_no_image(cache_folder):
    path = make_image(cache_folder, "reference", "a" * 12)
    (path / "disk.qcow2").write_bytes(b"x")
    assert images.list_images() == []


def test_a_cached_image_is_used_without_a_build(cache_folder, own_recipe, monkeypatch):
    make_image(cache_folder, "reference", own_recipe.image_hash())
    monkeypatch.setattr(images, "build_image", lambda *_: pytest.fail("built again"))
    assert images.ensure("reference").hash == own_recipe.image_hash()


def test_two_at_once_build_once(cache_folder, own_recipe, monkeypatch):
    built = []

    def build_slowly(_, image_hash):
        # Both callers have found the cache empty by now, or will find the image.
        built.append(image_hash)
        return cache.load_image(make_image(cache_folder, "reference", image_hash))

    monkeypatch.setattr(images, "build_image", build_slowly)
    threads = [threading.Thread(target=images.ensure, args=("reference",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [own_recipe.image_hash()]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        HostError(
            "'mmdebstrap' ended:\nE: You don't have enough free space in /var/cache/apt/archives/.\nE: it failed"
        ),
    ],
)
def test_disk_full_is_said_and_leaves_nothing(cache_folder, own_recipe, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(build, "_check_host", lambda: None)
    monkeypatch.setattr(build, "base_layer", fail)
    with pytest.raises(ImageBuildError, match="disk became full") as caught:
        images.ensure("reference")
    assert "WFP_HIL_CACHE" in (caught.value.hint or "")
    assert [path for path in cache_folder.iterdir() if path.is_dir()] == []


def test_too_little_room_is_said_before_anything_is_built(own_recipe, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(build, "find_tool", lambda _: Path("/bin/true"))
    with pytest.raises(ImageBuildError, match=r"needs 4096 MB on disk and .* has 1 MB"):
        images.ensure("reference")


def test_missing_tools_are_named(own_recipe, monkeypatch):
    monkeypatch.setattr(build, "find_tool", lambda name: None if name == "mmdebstrap" else Path("/bin/true"))
    with pytest.raises(ImageBuildError, match="not installed: mmdebstrap"):
        images.ensure("reference")


def test_stale_images_and_broken_off_builds_are_removed(cache_folder):
    kept = make_image(cache_folder, "reference", "a" * 12)
    old = make_image(cache_folder, "reference", "b" * 12)
    half = cache_folder / ".building-reference-xyz"
    half.mkdir()
    (cache_folder / ".reference.lock").touch()  # as whoever builds one has it
    kept_state, old_state = (cache_folder.parent / "booted" / f"reference-{c * 12}-0.qcow2" for c in "ab")
    old_state.parent.mkdir()
    for state in (kept_state, old_state):
        state.touch()
    assert set(images.remove_stale(frozenset({"a" * 12}))) == {old, half}
    assert kept.is_dir()
    assert not old.exists()
    assert not half.exists()
    assert kept_state.exists()
    assert not old_state.exists()


def test_secrets_differ_each_time_and_only_the_owner_reads_them(tmp_path):
    first, second = make_secrets(), make_secrets()
    assert first.winrm_password != second.winrm_password
    assert first.ssh_host_public != second.ssh_host_public
    first.write_for_host(tmp_path / "secrets")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()}
    assert modes == dict.fromkeys(("winrm.json", "winrm.pem", "ssh_key", "ssh_host.pub"), 0o600)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert b"PRIVATE" not in (tmp_path / "secrets" / "winrm.pem").read_bytes()


def test_initrd_unpacks_to_the_tree_it_was_made_from(tmp_path):
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "tool").write_bytes(b"12345")
    (tree / "bin" / "tool").chmod(0o755)
    (tree / "link").symlink_to("bin")
    write_initrd(tree, tmp_path / "initrd.img")
    entries = read_newc(gzip.decompress((tmp_path / "initrd.img").read_bytes()))
    assert entries == {
        "bin": (stat.S_IFDIR | (tree / "bin").stat().st_mode & 0o777, b""),
        "bin/tool": (stat.S_IFREG | 0o755, b"12345"),
        "link": (stat.S_IFLNK | 0o777, b"bin"),
        "dev/console": (stat.S_IFCHR | 0o600, b""),
    }


def read_newc(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, read as the kernel's documentation of initramfs describes the format."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        at += 110 + name_size + -(110 + name_size) % 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[at : at + size])
        at += size + -size % 4


def test_a_killed_build_is_cleaned_and_one_that_goes_on_is_not(cache_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    bases = cache_folder.parent / "bases"
    bases.mkdir(parents=True)
    cache_folder.mkdir()
    code = """
import sys
from harness.images import cache, scratch
with cache.build_lock(sys.argv[1]), scratch.scratch_folder() as folder:
    (cache.images_root() / f".building-{sys.argv[1]}-x").mkdir()
    (cache.images_root().parent / "bases" / f"{sys.argv[1]}-0.1.half.tar").touch()
    (folder / "unpacked").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""
    builds = [
        subprocess.Popen([sys.executable, "-c", code, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("killed", "going")
    ]
    folders = [Path(build.stdout.readline().strip()) for build in builds]
    builds[0].kill()
    builds[0].communicate()

    removed = set(images.remove_broken_builds())

    assert removed == {folders[0], cache_folder / ".building-killed-x", bases / "killed-0.1.half.tar"}
    assert not any(path.exists() for path in removed)
    assert (folders[1] / "unpacked").is_dir()
    builds[1].communicate("")
    assert not folders[1].exists(), "a build takes its own scratch folder away"


def test_pages_of_output_become_a_sentence_and_a_file(cache_folder, own_recipe, monkeypatch):
    said = (
        "'mmdebstrap' ended with exit code 25:\nmmdebstrap --very --long\nI: go\nE: run_chroot failed\nI: cleaning up"
    )

    def fail(*_):
        raise HostError(said)

    monkeypatch.setattr(build, "_check_host", lambda: None)
    monkeypatch.setattr(build, "base_layer", fail)
    with pytest.raises(ImageBuildError) as caught:
        images.ensure("reference")
    assert (
        caught.value.message
        == "The image could not be built: 'mmdebstrap' ended with exit code 25: E: run_chroot failed"
    )
    assert f"'{cache_folder / 'last-failure.log'}'" in (caught.value.hint or "")
    assert (cache_folder / "last-failure.log").read_text() == said + "\n"
