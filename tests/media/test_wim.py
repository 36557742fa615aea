"""Descriptions of images: what wimlib writes is read as wimlib means it; what nobody writes is refused."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.media import read_wim

from .conftest import WINDOWS_11, describe, make_wim

PROPERTIES = {
    "DISPLAYNAME": "Windows Test Pro",
    "WINDOWS_ARCH": "12",
    "WINDOWS_EDITIONID": "Professional",
    "WINDOWS_INSTALLATIONTYPE": "Client",
    "WINDOWS_LANGUAGES_LANGUAGE": "en-US",
    "WINDOWS_VERSION_MAJOR": "10",
    "WINDOWS_VERSION_MINOR": "0",
    "WINDOWS_VERSION_BUILD": "26100",
}


@pytest.mark.parametrize("words", [(), ("--compress=none",), ("--solid",)], ids=["install.wim", "plain", "install.esd"])
def test_an_archive_of_wimlib_is_read(wimlib: Callable[..., Path], words: tuple[str, ...]) -> None:
    path = wimlib("install.wim", *words, **PROPERTIES)
    with path.open("rb") as stream:
        info = read_wim(stream)
    (image,) = info.images
    assert (image.index, image.name, image.display_name) == (1, "Windows Test", "Windows Test Pro")
    assert (image.architecture, image.edition_id, image.build) == ("arm64", "Professional", 26100)
    assert (image.version, image.languages, image.installation_type) == ("10.0.26100", ("en-US",), "Client")
    assert image.size == 256 * 64 + len("text")


def test_each_part_of_a_split_archive_describes_the_images(wimlib: Callable[..., Path]) -> None:
    path = wimlib("whole.wim", "--compress=none", **PROPERTIES)
    first = path.with_name("install.swm")
    subprocess.run(["wimlib-imagex", "split", path, first, "0.01"], check=True, capture_output=True, timeout=60)
    parts = sorted(first.parent.glob("install*.swm"))
    assert len(parts) > 1
    for number, part in enumerate(parts, 1):
        with part.open("rb") as stream:
            info = read_wim(stream)
        assert (info.part, info.parts, [image.name for image in info.images]) == (number, len(parts), ["Windows Test"])


def test_images_come_in_the_order_of_their_numbers() -> None:
    info = read_wim(BytesIO(make_wim(describe(2, "Two"), describe(1, "One", display=""))))
    assert [(image.index, image.display_name) for image in info.images] == [(1, "One"), (2, "Two")]
    assert info.images[0].languages == ("en-US", "de-DE")


def cut_xml() -> bytes:
    return WINDOWS_11[:-40]


def far_xml() -> bytes:
    data = bytearray(WINDOWS_11)
    struct.pack_into("<Q", data, 0x50, 1 << 50)
    return bytes(data)


def huge_xml() -> bytes:
    data = bytearray(WINDOWS_11)
    struct.pack_into("<Q", data, 0x48, 1 << 40)
    return bytes(data)


ENTITIES = '<!DOCTYPE WIM [<!ENTITY a "aaaa">]><WIM><IMAGE INDEX="1"><NAME>&a;</NAME></IMAGE></WIM>'


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "208 bytes are missing at 0, of which 0 are there"),
        (b"PK\3\4" + bytes(300), "is no WIM: it begins with b'PK"),
        (WINDOWS_11[:100], "ends in the middle"),
        (cut_xml(), "ends in the middle"),
        (far_xml(), "ends in the middle"),
        (huge_xml(), "has 1099511627776 bytes, and 1 to"),
        (make_wim(xml="<WIM><IMAGE>"), "cannot be read"),
        (make_wim(xml=b"\xff\xfe\x00\xd8"), "cannot be read"),
        (make_wim(xml=ENTITIES, count=1), "has a document type"),
        (make_wim(describe(1, "One"), count=2), "says that it has 2 images and describes 1"),
        (make_wim(describe(1, "One"), describe(1, "Again")), "are numbered"),
        (make_wim(describe(1, "One", build="new")), "has 'new' where a number belongs"),
        (make_wim(describe(1, "One", build="9" * 5000)), "where a number belongs"),
    ],
)
def test_an_archive_that_makes_no_sense_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_wim(BytesIO(data))


@given(place=st.integers(0, len(WINDOWS_11) - 1), value=st.binary(min_size=1, max_size=12))
def test_whatever_stands_in_an_archive_it_is_read_or_refused(place: int, value: bytes) -> None:
    data = WINDOWS_11[:place] + value + WINDOWS_11[place + len(value) :]
    try:
        read_wim(BytesIO(data))
    except UsageError as error:
        assert error.message.startswith(("'install.wim'", "The "))  # noqa: PT017 - either outcome is right
