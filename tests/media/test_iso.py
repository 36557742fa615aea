"""Media are read whichever file system has the files; what is no medium is refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.media import Medium, open_medium

from .conftest import make_iso

FILES = {"setup.exe": b"MZ", "sources/install.wim": b"wim" * 1000, "sources/lang/en.ini": b"x"}


@pytest.mark.parametrize("system", ["udf", "joliet", "iso9660"])
def test_files_are_found_in_each_file_system(medium: Callable[..., Medium], system: str) -> None:
    opened = medium(FILES, system=system)
    assert opened.system == system
    assert set(FILES) <= set(opened.listing)
    assert opened.volume_id == "TEST_MEDIUM"
    assert opened.exists("SOURCES/Install.WIM")
    assert not opened.exists("sources/install.esd")
    assert opened.size("sources/install.wim") == 3000
    assert opened.read("sources/install.wim", 3000) == FILES["sources/install.wim"]
    with opened.open("sources/install.wim") as stream:
        stream.seek(2998)
        assert stream.read(10) == b"im"


def test_udf_goes_before_the_tree_that_only_says_so(medium: Callable[..., Medium]) -> None:
    assert not medium(FILES).exists("BOOT0.BIN")


@pytest.mark.parametrize(("platforms", "bootable"), [((), False), ((0,), False), ((0xEF,), True), ((0, 0xEF), True)])
def test_whether_uefi_boots_it(medium: Callable[..., Medium], platforms: tuple[int, ...], bootable: bool) -> None:
    assert medium(FILES, platforms=platforms).uefi_bootable is bootable


def test_what_is_not_there_or_too_large_is_refused(medium: Callable[..., Medium]) -> None:
    opened = medium(FILES)
    with pytest.raises(UsageError, match=r"has no file 'sources/boot.wim'"):
        opened.size("sources/boot.wim")
    with pytest.raises(UsageError, match="has 3000 bytes, and at most 2999 are read"):
        opened.read("sources/install.wim", 2999)


@pytest.mark.parametrize("content", [b"", b"no ISO", bytes(1 << 20), b"MSWIM\0\0\0" + bytes(100_000)])
def test_a_file_that_is_no_medium_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.iso"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no ISO that can be read"):
        open_medium(path)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        open_medium(tmp_path / "missing.iso")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        open_medium(tmp_path)


@cache
def whole_medium() -> bytes:
    with TemporaryDirectory() as folder:
        return make_iso(Path(folder, "medium.iso"), FILES).read_bytes()


@given(sector=st.integers(16, 280), offset=st.integers(0, 600), value=st.binary(min_size=1, max_size=8))
@settings(max_examples=150)
def test_a_damaged_medium_is_read_or_refused(sector: int, offset: int, value: bytes) -> None:
    data, place = whole_medium(), sector * 2048 + offset
    with TemporaryDirectory() as folder:
        path = Path(folder, "medium.iso")
        path.write_bytes(data[:place] + value + data[place + len(value) :])
        try:
            with closing(open_medium(path)) as opened:
                assert isinstance(opened.listing, tuple)
                if opened.exists("sources/install.wim"):
                    opened.read("sources/install.wim", 1 << 20)
        except UsageError as error:
            assert str(path) in error.message  # noqa: PT017 - either outcome is right


def test_a_medium_that_ends_early_is_refused_or_says_so(tmp_path: Path) -> None:
    data = whole_medium()
    for size in range(0, len(data), 40 * 2048):
        path = tmp_path / "short.iso"
        path.write_bytes(data[:size])
        with (
            pytest.raises(UsageError, match=r"is no ISO that can be read|ends in the middle of"),
            closing(open_medium(path)) as opened,
        ):
            opened.read("sources/install.wim", 1 << 20)
