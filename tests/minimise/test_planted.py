"""The builds of the driver with the planted fault are what a bisection takes them for."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import profiles_root
from harness.driver import load_package_for
from harness.minimise.builds import find_builds
from tests.minimise.planted.builds import BUILDS, build, can_build

pytestmark = pytest.mark.skipif(not can_build(), reason="mingw-w64 is not installed")


def test_builds_are_drivers_in_the_order_of_their_versions(tmp_path: Path) -> None:
    for number in (BUILDS, 2, 10):
        load_package_for(build(number, tmp_path / f"made-{BUILDS - number}"), profiles_root() / "reference")
    found = find_builds(tmp_path)
    assert found.ordered_by == "file version"
    assert [one.order for one in found.builds] == ["version 0.1.2.0", "version 0.1.10.0", "version 0.1.16.0"]
    assert len({one.sha256 for one in found.builds}) == 3


def test_a_build_is_the_same_each_time(tmp_path: Path) -> None:
    assert build(3, tmp_path / "a").read_bytes() == build(3, tmp_path / "b").read_bytes()
