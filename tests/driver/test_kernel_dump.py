"""Kernel dumps: heads made here, whole, cut off and hostile; what a driver put into one."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.driver.kernel_dump import HEADER_SIZE, DumpUnreadable, read_driver_data, read_dump

TAG = UUID("7d3a5b0e-5f5c-4f1b-9b8e-2f6c1d0a7e31")
OTHER = UUID("00000000-0000-4000-8000-000000000001")
MARCH = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def filetime(moment: datetime) -> int:
    return int((moment - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000


def head(**changes: tuple[int, str, int]) -> bytearray:
    """A head as Windows writes one; `changes` are offset, format and value of a member."""
    made = bytearray(b"PAGE" * (HEADER_SIZE // 4))
    made[0:8] = b"PAGEDU64"
    members = {
        "major": (0x08, "<I", 15),
        "build": (0x0C, "<I", 19041),
        "machine": (0x30, "<I", 0x8664),
        "processors": (0x34, "<I", 2),
        "code": (0x38, "<I", 0xD1),
        "one": (0x40, "<Q", 0x10),
        "two": (0x48, "<Q", 2),
        "three": (0x50, "<Q", 1),
        "four": (0x58, "<Q", 0xFFFFF80012345678),
        "debugger": (0x80, "<Q", 0xFFFFF80055555555),
        "rip": (0x348 + 0xF8, "<Q", 0xFFFFF80012345678),
        "type": (0xF98, "<I", 6),
        "space": (0xFA0, "<Q", HEADER_SIZE + 0x1000),
        "time": (0xFA8, "<Q", filetime(MARCH)),
        "up": (0x1030, "<Q", 600_000_000),
    }
    for at, form, value in (members | changes).values():
        struct.pack_into(form, made, at, value)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "MEMORY.DMP"


def test_a_whole_dump_says_what_crashed_and_when(path: Path) -> None:
    path.write_bytes(head() + bytes(0x1000))

    dump = read_dump(path)

    assert (dump.code, dump.parameters) == (0xD1, (0x10, 2, 1, 0xFFFFF80012345678))
    assert (dump.kind, dump.build, dump.processors, dump.time) == ("bitmap-kernel", 19041, 2, MARCH)
    assert (dump.debugger_block, dump.instruction) == (0xFFFFF80055555555, 0xFFFFF80012345678)
    assert (dump.up_seconds, dump.is_complete) == (60.0, True)
    assert str(dump) == (
        "MEMORY.DMP: bugcheck 0xd1 (0x10, 0x2, 0x1, 0xfffff80012345678) DRIVER_IRQL_NOT_LESS_OR_EQUAL; "
        "bitmap-kernel dump of build 19041, 2026-03-04 05:06:07 UTC"
    )
    assert dump.crash.source == "MEMORY.DMP"


def test_a_dump_that_is_cut_off_behind_its_head_says_so(path: Path) -> None:
    path.write_bytes(head())

    dump = read_dump(path)

    assert not dump.is_complete
    assert str(dump).endswith(f"cut off: {HEADER_SIZE} of {HEADER_SIZE + 0x1000} bytes")


def test_members_that_windows_left_unset_are_told_as_nothing(path: Path) -> None:
    made = head()
    for at, size in ((0x80, 8), (0xFA0, 8), (0xFA8, 8), (0x1030, 8), (0x0C, 4)):
        made[at : at + size] = (b"PAGE" * 2)[:size]
    path.write_bytes(made)

    dump = read_dump(path)

    assert (dump.debugger_block, dump.time, dump.up_seconds, dump.build) == (0, None, None, 0)
    assert dump.is_complete


@pytest.mark.parametrize("value", [0, 1 << 63, (1 << 64) - 1, 0x7FFF35F4F06C58F0])
def test_a_time_that_makes_no_sense_is_none(path: Path, value: int) -> None:
    path.write_bytes(head(time=(0xFA8, "<Q", value)))

    assert read_dump(path).time is None


def test_a_kind_that_is_not_known_is_told_by_its_number(path: Path) -> None:
    path.write_bytes(head(type=(0xF98, "<I", 99)))

    assert read_dump(path).kind == "unknown (99)"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it begins with nothing"),
        (bytes(HEADER_SIZE), "it begins with 00 00 00 00 00 00 00 00"),
        (b"PAGEDUMP" + bytes(HEADER_SIZE), "dump of a 32-bit Windows"),
        (b"MDMP" + bytes(HEADER_SIZE), "dump of a program, not of the kernel"),
        (bytes(head())[: HEADER_SIZE - 1], "cut off in its head: 8191 bytes, 8192 are wanted"),
        (b"PAGEDU64", "cut off in its head: 8 bytes"),
        (bytes(head(machine=(0x30, "<I", 0xAA64))), "machine of type 0xaa64: 0x8664"),
    ],
)
def test_what_is_no_such_dump_is_told_with_what_it_is(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)

    with pytest.raises(DumpUnreadable, match=words):
        read_dump(path)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(DumpUnreadable, match="No such file"):
        read_dump(path)
    assert read_driver_data(path, TAG) is None


def blobs(*parts: tuple[UUID, bytes], before: int = 0) -> bytes:
    made = struct.pack("<8sII", b"DumpBlob", 16, 19041)
    for tag, data in parts:
        behind = -len(data) & 7
        made += (
            struct.pack("<I16sIII", 32, tag.bytes_le, len(data), before, behind) + bytes(before) + data + bytes(behind)
        )
    return made


def test_what_a_driver_gave_is_found_by_its_guid(path: Path) -> None:
    path.write_bytes(bytes(head()) + bytes(0x1000) + blobs((OTHER, b"not this"), (TAG, b"the last events")))

    assert read_driver_data(path, TAG) == b"the last events"
    assert read_driver_data(path, OTHER) == b"not this"
    assert read_driver_data(path, UUID(int=5)) is None


def test_data_behind_padding_is_found(path: Path) -> None:
    path.write_bytes(bytes(head()) + blobs((OTHER, b"x"), (TAG, b"padded"), before=24))

    assert read_driver_data(path, TAG) == b"padded"


def test_bytes_in_a_page_that_look_like_it_do_not_hide_it(path: Path) -> None:
    path.write_bytes(bytes(head()) + blobs((TAG, b"real")) + b"DumpBlob in a page" + bytes(100))

    assert read_driver_data(path, TAG) == b"real"


@pytest.mark.parametrize(
    "hostile",
    [
        b"DumpBlob",
        struct.pack("<8sII", b"DumpBlob", 17, 0) + bytes(64),
        blobs((TAG, b"x"))[:-16],
        struct.pack("<8sII", b"DumpBlob", 16, 0) + struct.pack("<I16sIII", 32, TAG.bytes_le, 0xFFFFFFFF, 0, 0),
        struct.pack("<8sII", b"DumpBlob", 16, 0)
        + struct.pack("<I16sIII", 32, TAG.bytes_le, 4, 0xFFFFFFF0, 0)
        + b"four",
        struct.pack("<8sII", b"DumpBlob", 16, 0) + struct.pack("<I16sIII", 0, TAG.bytes_le, 4, 0, 0) + b"four",
    ],
)
def test_hostile_data_is_nothing(path: Path, hostile: bytes) -> None:
    path.write_bytes(bytes(head()) + hostile)

    assert read_driver_data(path, TAG) is None


@given(at=st.integers(0, HEADER_SIZE - 8), value=st.binary(min_size=1, max_size=8), length=st.integers(0, HEADER_SIZE))
def test_no_head_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: bytes, length: int
) -> None:
    made = head()
    made[at : at + len(value)] = value
    path = tmp_path_factory.mktemp("dump") / "x.dmp"
    path.write_bytes(bytes(made)[:length] if length % 3 == 0 else bytes(made))

    with suppress(DumpUnreadable):
        assert str(read_dump(path))
