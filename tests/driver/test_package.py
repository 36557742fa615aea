from __future__ import annotations

import gc
from pathlib import Path

import pefile
import pytest

from harness.driver.package import Exports, check_imports, load_exports, load_package
from harness.errors import DriverPackageError, HostError
from harness.process import run

IMPORTS = Path(__file__).parents[2] / "vm-images" / "reference" / "imports.json"
SOURCE = """
__declspec(dllimport) int {name}(void *);
int DriverEntry(void *a, void *b) {{ (void)b; return {name}(a); }}
"""


@pytest.fixture(scope="session")
def make_driver(tmp_path_factory):
    """A driver that imports one function of ntoskrnl.exe, made by mingw."""

    def make(name="DbgPrint", subsystem="native"):
        folder = tmp_path_factory.mktemp("driver")
        (folder / "d.c").write_text(SOURCE.format(name=name))
        (folder / "k.def").write_text(f"LIBRARY ntoskrnl.exe\nEXPORTS\n    {name}\n")
        run(["x86_64-w64-mingw32-dlltool", "-d", folder / "k.def", "-l", folder / "libk.a"])
        run([
            "x86_64-w64-mingw32-gcc", "-nostdlib", "-shared", "-Wl,--subsystem," + subsystem, "-Wl,-e,DriverEntry",
            folder / "d.c", "-L", folder, "-lk", "-o", folder / "tiny.sys",
        ])  # fmt: skip
        return folder / "tiny.sys"

    return make


@pytest.fixture(scope="session")
def tiny(make_driver):
    return make_driver()


def patched(path, tmp_path, offset, raw):
    content = bytearray(path.read_bytes())
    at = int.from_bytes(content[0x3C:0x40], "little") + offset
    content[at : at + len(raw)] = raw
    copy = tmp_path / "patched.sys"
    copy.write_bytes(content)
    return copy


def test_facts_of_a_good_driver(tiny):
    package = load_package(tiny)

    assert package.service == "tiny"
    assert package.imports == {"ntoskrnl.exe": ("DbgPrint",)}
    assert not package.is_signed
    assert not package.is_kmdf


def test_its_imports_are_in_the_reference_guest(tiny):
    assert check_imports(load_package(tiny), load_exports(IMPORTS)) == ()


def test_a_missing_function_is_named_with_the_nearest(make_driver):
    package = load_package(make_driver("DbgPrintt"))

    with pytest.raises(DriverPackageError, match=r"lacks: 'ntoskrnl\.exe!DbgPrintt' \(it has 'DbgPrint'\)") as error:
        check_imports(package, load_exports(IMPORTS))
    assert error.value.exit_code == 2


def test_a_missing_module_is_named(tiny):
    with pytest.raises(DriverPackageError, match=r"the guest 'bare' lacks: the module 'ntoskrnl\.exe'"):
        check_imports(load_package(tiny), Exports("bare", {}, {}))


def test_a_stub_counts_as_lacking_unless_allowed(tiny):
    exports = Exports("g", {"ntoskrnl.exe": frozenset()}, {"ntoskrnl.exe": frozenset({"DbgPrint"})})

    with pytest.raises(DriverPackageError, match="only a stub that fails when called"):
        check_imports(load_package(tiny), exports)
    assert check_imports(load_package(tiny), exports, allow_stubs=True) == ("ntoskrnl.exe!DbgPrint",)


def test_absent_file(tmp_path):
    with pytest.raises(DriverPackageError, match=r"gone\.sys' could not be read: No such file"):
        load_package(tmp_path / "gone.sys")


@pytest.mark.parametrize("content", [b"", b"MZ", b"[Version]\r\nSignature=$WINDOWS NT$", b"\x7fELF" + bytes(200)])
def test_not_a_pe_file(tmp_path, content):
    path = tmp_path / "x.sys"
    path.write_bytes(content)

    with pytest.raises(DriverPackageError, match=r"x\.sys' is not a PE file"):
        load_package(path)


def test_a_file_that_was_cut_short_is_no_driver(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda *_: 0)  # pefile's after each file, 0.1 s in a process as large as this
    content = tiny.read_bytes()
    last = max(s.PointerToRawData + s.SizeOfRawData for s in pefile.PE(data=content).sections)
    path = tmp_path / "cut.sys"
    for size in (*range(0, 1024, 7), last // 2, last - 1):
        path.write_bytes(content[:size])
        with pytest.raises(DriverPackageError, match=r"cut\.sys' (is not a PE file|ends|is cut short)"):
            load_package(path)


@pytest.mark.parametrize(("machine", "name"), [(0x014C, "x86"), (0xAA64, "ARM64"), (0x1234, "machine 0x1234")])
def test_another_machine_is_named(tiny, tmp_path, machine, name):
    path = patched(tiny, tmp_path, 4, machine.to_bytes(2, "little"))

    with pytest.raises(DriverPackageError, match=f"is built for {name}, wanted x64"):
        load_package(path)


def test_a_program_is_no_driver(make_driver):
    with pytest.raises(DriverPackageError, match="is a console program, wanted a kernel driver"):
        load_package(make_driver(subsystem="console"))


def test_a_driver_without_entry_is_named(tiny, tmp_path):
    with pytest.raises(DriverPackageError, match="has no entry point, wanted DriverEntry"):
        load_package(patched(tiny, tmp_path, 24 + 16, bytes(4)))


def test_a_damaged_list_of_functions_is_the_hosts_fault(tmp_path):
    path = tmp_path / "imports.json"
    path.write_text('{"guest": "x"}')

    with pytest.raises(HostError, match="cannot be read"):
        load_exports(path)
