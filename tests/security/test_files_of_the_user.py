"""Files that a user hands in, damaged in every way: an error that names the file, and never anything else."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import pytest

from harness.config import load_profile, profiles_root
from harness.driver.inf import load_inf
from harness.driver.package import load_package
from harness.errors import HarnessError
from harness.history import load_known_issues

ROOT = Path(__file__).parents[2]


def damaged(content: bytes, number: int) -> bytes:
    """One of many ways to break it: bits, cuts, repetitions, numbers at their ends."""
    source = random.Random(number)
    body = bytearray(content)
    for _ in range(source.randrange(1, 12)):
        at = source.randrange(max(1, len(body)))
        match source.randrange(5):
            case 0 if body:
                body[at % len(body)] ^= 1 << source.randrange(8)
            case 1:
                del body[at:]
            case 2:
                body[at : at + 4] = source.choice([bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80"])
            case 3:
                body[at:at] = body[at : at + source.randrange(200)]
            case _:
                body[at : at + source.randrange(50)] = b""
    return bytes(body)


def takes_or_refuses(read, path: Path) -> bool:
    try:
        read(path)
    except HarnessError:
        return False
    return True


def test_no_profile_breaks_its_reader(tmp_path: Path) -> None:
    content = (profiles_root() / "reference" / "guest.toml").read_bytes()
    path = tmp_path / "guest.toml"
    taken = 0
    for number in range(150):
        path.write_bytes(damaged(content, number))
        taken += takes_or_refuses(load_profile, path)
    assert taken < 150


def test_no_list_of_known_issues_breaks_its_reader(tmp_path: Path) -> None:
    content = b'[[issue]]\nscenario = "x*"\nmessage = "a.*b"\nreason = "r"\nexpires = 2027-01-31\n' * 3
    path = tmp_path / "known-issues.toml"
    for number in range(300):
        path.write_bytes(damaged(content, number))
        takes_or_refuses(load_known_issues, path)


def test_no_inf_breaks_its_reader(tmp_path: Path) -> None:
    infs = sorted(ROOT.glob("drivers/**/*.inf")) or sorted(ROOT.glob("tests/**/*.inf"))
    content = infs[0].read_bytes() if infs else INF
    path = tmp_path / "driver.inf"
    for number in range(300):
        path.write_bytes(damaged(content, number))
        takes_or_refuses(lambda path: load_inf(path.read_bytes()), path)


INF = b"""[Version]
Signature = "$WINDOWS NT$"
Class = WFPCALLOUTS
ClassGuid = {57465043-616C-6C6F-7574-5F636C617373}
Provider = %Name%
CatalogFile = driver.cat
DriverVer = 11/22/2026,1.0.0.0
[DefaultInstall.NTamd64]
CopyFiles = Files
[Files]
driver.sys
[Strings]
Name = "x" ; a comment
"""


def test_no_driver_file_breaks_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda *_: 0)  # pefile's after each file, 0.1 s in a process as large as this
    built = ROOT / "drivers" / "build" / "wfpcallout.sys"
    if not built.is_file():
        pytest.skip("the driver has not been built: make drivers")
    content = built.read_bytes()[:24576]
    path = tmp_path / "driver.sys"
    taken = 0
    for number in range(60):
        path.write_bytes(damaged(content, number))
        taken += takes_or_refuses(load_package, path)
    assert taken < 60
