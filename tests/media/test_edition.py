"""Which image is taken, and each sentence that says why none can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.errors import UsageError
from harness.media import Medium, WimImage, choose_image

from .conftest import WINDOWS_11, describe, make_wim

EDITIONS = ("Windows 11 Enterprise Evaluation", "Windows 11 Enterprise", "Windows 11 Pro")
IDS = ("EnterpriseEval", "Enterprise", "Professional")


def choose(medium: Medium, **changes: object) -> WimImage:
    wishes = {"editions": EDITIONS, "edition_ids": IDS, "architecture": "amd64", "minimum_build": 22000}
    return choose_image(medium, **(wishes | changes))


@pytest.mark.parametrize("archive", ["install.wim", "install.esd", "install.swm"])
def test_the_first_edition_that_the_medium_has_is_taken(medium: Callable[..., Medium], archive: str) -> None:
    assert choose(medium({f"sources/{archive}": WINDOWS_11})).name == "Windows 11 Enterprise"


@pytest.mark.parametrize("wanted", ["windows 11 home", "1", "core"])
def test_a_wish_goes_before_by_name_number_or_edition(medium: Callable[..., Medium], wanted: str) -> None:
    assert choose(medium({"sources/install.wim": WINDOWS_11}), wanted=wanted).index == 1


def test_translated_names_are_known_by_their_edition(medium: Callable[..., Medium]) -> None:
    wim = make_wim(describe(1, "Windows 11 Famille", "Core"), describe(2, "Windows 11 Professionnel"))
    assert choose(medium({"sources/install.wim": wim})).index == 2


def test_of_servers_the_one_with_a_desktop_is_taken(medium: Callable[..., Medium]) -> None:
    wim = make_wim(
        describe(1, "Serveur A", "ServerStandard", kind="Server Core", build=20348),
        describe(2, "Serveur B", "ServerStandard", kind="Server", build=20348),
    )
    opened = medium({"sources/install.wim": wim})
    assert choose(opened, edition_ids=["ServerStandard"], minimum_build=20348).index == 2
    with pytest.raises(UsageError, match=r"'ServerStandard' could be any of 1: 'Serveur A' .*, 2: 'Serveur B'"):
        choose(opened, wanted="ServerStandard", minimum_build=20348)


def test_an_edition_that_is_not_there_is_answered_with_those_that_are(medium: Callable[..., Medium]) -> None:
    opened = medium({"sources/install.wim": WINDOWS_11})
    with pytest.raises(
        UsageError, match=r"has not the edition 'Windows 11 Ultimate'. It has 1: .*Home.*, 3: "
    ) as caught:
        choose(opened, wanted="Windows 11 Ultimate")
    assert caught.value.hint is not None
    with pytest.raises(UsageError, match=r"has none of the editions that this guest is made for: 'Server'. It has 1: "):
        choose(opened, editions=["Server"], edition_ids=[])


def test_another_architecture_is_refused(medium: Callable[..., Medium]) -> None:
    opened = medium({"sources/install.wim": make_wim(describe(1, "Windows 11 Pro", arch=12))})
    with pytest.raises(UsageError, match="is a medium for arm64, and this guest is amd64"):
        choose(opened)


def test_an_older_windows_is_refused(medium: Callable[..., Medium]) -> None:
    opened = medium({"sources/install.wim": make_wim(describe(1, "Windows 11 Pro", build=19045))})
    with pytest.raises(UsageError, match="is build 19045, and this guest wants 22000 at least"):
        choose(opened)


def test_a_medium_that_uefi_does_not_boot_is_refused(medium: Callable[..., Medium]) -> None:
    with pytest.raises(UsageError, match="cannot be booted by UEFI"):
        choose(medium({"sources/install.wim": WINDOWS_11}, platforms=(0,)))


def test_an_evaluation_takes_no_key(medium: Callable[..., Medium]) -> None:
    opened = medium(
        {"sources/install.wim": make_wim(describe(1, "Windows 11 Enterprise Evaluation", "EnterpriseEval"))}
    )
    assert choose(opened).edition_id == "EnterpriseEval"
    with pytest.raises(UsageError, match="is an evaluation, which takes no product key"):
        choose(opened, product_key="AAAAA-BBBBB-CCCCC-DDDDD-EEEEE")


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ({"NetKVM/w11/amd64/netkvm.inf": b""}, "--virtio-iso"),
        ({"x64/sources/install.esd": b"", "x86/sources/install.esd": b""}, "two architectures"),
        ({"casper/vmlinuz": b""}, "Linux"),
        ({"HLKSetup.exe": b""}, "certification kit"),
        ({"readme.txt": b""}, "evalcenter"),
    ],
)
def test_a_medium_of_something_else_is_told_by_what_it_has(
    medium: Callable[..., Medium], files: dict[str, bytes], hint: str
) -> None:
    with pytest.raises(UsageError, match=r"label 'TEST_MEDIUM'\) is no installation medium of Windows") as caught:
        choose(medium(files))
    assert hint in (caught.value.hint or "")


def test_an_archive_without_images_is_refused(medium: Callable[..., Medium]) -> None:
    with pytest.raises(UsageError, match="has no image in it"):
        choose(medium({"sources/install.wim": make_wim()}))
