from __future__ import annotations

import pytest

from harness.driver.build import build_all, find_built
from harness.driver.package import load_package
from harness.errors import DriverBuildError

MAKEFILE = """all:
\t@mkdir -p build
\t@echo built >> build/log
\t@cp callout.c build/wfpcallout.sys
\t@cp callout.c build/wfpprobe.exe
\t@cp callout.c build/wfpcrash.sys
\t@cp callout.c build/wfpcallout2.sys
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "callout.c").write_text("one")
    return tmp_path


def builds(root):
    return (root / "build" / "log").read_text().count("built")


def test_make_runs_only_when_a_source_changed(root):
    built = build_all(root, test_sign=False)
    build_all(root, test_sign=False)
    assert builds(root) == 1
    assert built["wfpcallout.sys"].read_text() == "one"

    (root / "callout.c").write_text("two")
    assert build_all(root, test_sign=False)["wfpcallout.sys"].read_text() == "two"
    assert builds(root) == 2


def test_a_product_that_was_deleted_is_made_again(root):
    build_all(root, test_sign=False)["wfpprobe.exe"].unlink()
    assert find_built("wfpprobe.exe", root) is None
    build_all(root, test_sign=False)

    assert find_built("wfpprobe.exe", root) is not None


def test_what_the_compiler_said_is_in_the_error(root):
    (root / "Makefile").write_text("all:\n\t@echo 'callout.c:3: error: no such thing' >&2; exit 1\n")
    with pytest.raises(DriverBuildError, match=r"callout\.c:3: error: no such thing"):
        build_all(root, test_sign=False)


def test_a_build_that_makes_nothing_is_an_error(root):
    (root / "Makefile").write_text("all:\n\t@true\n")
    with pytest.raises(
        DriverBuildError, match=r"made no wfpcallout\.sys and no wfpprobe\.exe and no wfpcrash\.sys and no"
    ):
        build_all(root, test_sign=False)


def test_incomplete_checkout(tmp_path):
    with pytest.raises(DriverBuildError, match="Makefile' does not exist"):
        build_all(tmp_path, test_sign=False)


def test_the_driver_comes_signed_and_is_signed_anew_when_it_changed(root):
    source = root / "callout.c"
    compiler = "x86_64-w64-mingw32-gcc -nostdlib -shared -Wl,--subsystem,native -Wl,-e,DriverEntry callout.c -o"
    (root / "Makefile").write_text(
        f"all:\n\t@mkdir -p build\n\t@{compiler} build/wfpcallout.sys\n\t@cp callout.c build/wfpprobe.exe\n"
        "\t@cp callout.c build/wfpcrash.sys\n\t@cp callout.c build/wfpcallout2.sys\n"
    )
    source.write_text("int DriverEntry(void) { return 0; }")
    first = build_all(root)["wfpcallout.sys"]
    content = first.read_bytes()
    assert load_package(first).is_signed
    assert build_all(root)["wfpcallout.sys"].read_bytes() == content

    source.write_text("int DriverEntry(void) { return 1; }")
    again = build_all(root)["wfpcallout.sys"]
    assert load_package(again).is_signed
    assert again.read_bytes() != content
