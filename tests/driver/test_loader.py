"""A driver file as the kernel's loader sees it: ours would load, and each rule sees what breaks it."""

from __future__ import annotations

import struct

import pefile
import pytest

from harness import steps
from harness.driver.build import build_all, certificate_folder
from harness.driver.digest import find_layout, image_checksum
from harness.driver.loader import _CHECKS, check_loadable, load_loader_rules, unproven_imports
from harness.driver.package import load_package_for
from harness.driver.sign import make_certificate
from harness.errors import DriverPackageError, UsageError
from harness.process import run
from harness.wfp import kernel

RELEASE = "windows-server-2019"


@pytest.fixture(scope="module")
def ours():
    return build_all()["wfpcallout.sys"]


@pytest.fixture(scope="module")
def content(ours):
    return ours.read_bytes()


def problems(content, tmp_path, *, fix_checksum=True, **options):
    path = tmp_path / "x.sys"
    changed = bytearray(content)
    if fix_checksum:
        struct.pack_into("<I", changed, find_layout(bytes(changed)).checksum_at, image_checksum(bytes(changed)))
    path.write_bytes(changed)
    return check_loadable(path, release=options.pop("release", RELEASE), **options)


@pytest.mark.parametrize("release", kernel.releases())
def test_our_driver_loads_on_every_release(ours, release):
    assert check_loadable(ours, release=release, certificate=make_certificate(certificate_folder())) == []


@pytest.mark.parametrize("release", kernel.releases())
def test_all_that_our_driver_imports_is_known(ours, release):
    assert unproven_imports(ours, release=release) == []


def test_every_rule_has_a_check_and_a_source():
    rules = load_loader_rules()
    assert set(rules) == set(_CHECKS)
    assert all(rule["source"].startswith("https://") and rule["text"] for rule in rules.values())


def at(content, field):
    pe = pefile.PE(data=content, fast_load=True)
    for header in (pe.OPTIONAL_HEADER, pe.FILE_HEADER):
        if hasattr(header, field):
            return header.get_field_absolute_offset(field)
    raise AssertionError(field)


def section_at(content, name, field):
    pe = pefile.PE(data=content, fast_load=True)
    section = next(section for section in pe.sections if section.Name.rstrip(b"\0").decode() == name)
    return section.get_field_absolute_offset(field)


def directory_at(content, number):
    return pefile.PE(data=content, fast_load=True).OPTIONAL_HEADER.DATA_DIRECTORY[number].get_file_offset()


def with_value(content, place, form, value):
    changed = bytearray(content)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def flipped(content, place, form, bits):
    (old,) = struct.unpack_from(form, content, place)
    return with_value(content, place, form, old ^ bits)


BREAK = {
    "image": [lambda c: flipped(c, at(c, "Characteristics"), "<H", 0x0002)],
    "alignment": [
        lambda c: with_value(c, at(c, "SectionAlignment"), "<I", 0x200),
        lambda c: with_value(c, at(c, "FileAlignment"), "<I", 0x100),
        lambda c: flipped(c, at(c, "SizeOfImage"), "<I", 0x1000),
    ],
    "relocations": [
        lambda c: flipped(c, at(c, "Characteristics"), "<H", 0x0001),
        lambda c: with_value(c, reloc_of(c), "<I", 0x500000),
        lambda c: with_value(c, reloc_of(c) + 4, "<I", 0x5000),
        lambda c: with_value(c, reloc_of(c) + 8, "<H", 0x3000),
    ],
    "relocation-table": [lambda c: with_value(c, directory_at(c, 5), "<Q", 0)],
    "flags": [
        lambda c: flipped(c, at(c, "DllCharacteristics"), "<H", 0x0040),
        lambda c: flipped(c, at(c, "DllCharacteristics"), "<H", 0x0100),
    ],
    "writable-code": [
        lambda c: flipped(c, section_at(c, ".text", "Characteristics"), "<I", 0x80000000),
        lambda c: flipped(c, section_at(c, ".idata", "Characteristics"), "<I", 0x20000000),
    ],
    "directories": [lambda c, n=n: with_value(c, directory_at(c, n), "<Q", 0x10) for n in (9, 11, 13, 14)],
    "entry": [lambda c: with_value(c, at(c, "AddressOfEntryPoint"), "<I", 0x100)],
    "cookie": [lambda c: with_cookie(c, 5), lambda c: with_cookie(c, 0x00002B992DDFA232, read_only=True)],
    "version": [
        lambda c: with_value(c, directory_at(c, 2), "<Q", 0),
        lambda c: c.replace("OriginalFilename".encode("utf-16-le"), "OriginalFilenamf".encode("utf-16-le")),
    ],
    "signature-place": [
        lambda c: with_value(c, directory_at(c, 4), "<Q", 0),
        lambda c: flipped(c, signature_of(c) + 4, "<H", 0x0300),
        lambda c: with_value(c, signature_of(c), "<I", 0x7FFFFFF),
    ],
}


def reloc_of(content):
    pe = pefile.PE(data=content, fast_load=True)
    return pe.get_offset_from_rva(pe.OPTIONAL_HEADER.DATA_DIRECTORY[5].VirtualAddress)


def signature_of(content):
    return find_layout(content).signature_at


def with_cookie(content, value, *, read_only=False):
    """The image with a load configuration in .rdata whose cookie has this value."""
    pe = pefile.PE(data=content, fast_load=True)
    where = {section.Name.rstrip(b"\0").decode(): section for section in pe.sections}
    cookie = where[".rdata" if read_only else ".data"].VirtualAddress
    changed = with_value(content, directory_at(content, 10), "<Q", (0x94 << 32) | where[".rdata"].VirtualAddress)
    start = where[".rdata"].PointerToRawData
    changed = with_value(changed, start + 88, "<Q", pe.OPTIONAL_HEADER.ImageBase + cookie)
    return with_value(changed, pe.get_offset_from_rva(cookie), "<Q", value)


@pytest.mark.parametrize(("rule", "number"), [(rule, n) for rule, ways in BREAK.items() for n in range(len(ways))])
def test_each_rule_sees_what_breaks_it(content, tmp_path, rule, number):
    found = problems(BREAK[rule][number](content), tmp_path)
    assert any(problem.endswith(f"[{rule}]") for problem in found), found


def test_a_cookie_with_the_default_value_is_right(content, tmp_path):
    found = problems(with_cookie(content, 0x00002B992DDFA232), tmp_path)
    assert not [problem for problem in found if problem.endswith("[cookie]")]


def test_a_wrong_checksum_is_shown_beside_the_right_one(content, tmp_path):
    broken = with_value(content, at(content, "CheckSum"), "<I", 0)
    (problem,) = problems(broken, tmp_path, fix_checksum=False)
    assert problem == f"The checksum in the header is 0x0, that of the file is {image_checksum(content):#x}. [checksum]"


def test_a_signature_by_another_or_over_other_bytes_does_not_verify(content, tmp_path):
    (problem,) = problems(content, tmp_path, certificate=make_certificate(tmp_path / "other"))
    assert problem.endswith("[signature]")
    changed = flipped(content, section_at(content, ".text", "Name") + 0, "<B", 0x20)
    found = problems(changed, tmp_path, certificate=make_certificate(certificate_folder()))
    assert any(problem.endswith("[signature]") for problem in found)


def test_what_is_no_driver_is_one_problem(tmp_path):
    (tmp_path / "x.sys").write_text("no driver")
    (problem,) = check_loadable(tmp_path / "x.sys", release=RELEASE)
    assert problem.endswith("[image]")


def link(tmp_path, imports, source):
    """A driver that imports `imports` ({module: function})."""
    words = ["x86_64-w64-mingw32-gcc", "-nostdlib", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry"]
    (tmp_path / "d.c").write_text(source)
    for number, (module, function) in enumerate(imports.items()):
        (tmp_path / f"{number}.def").write_text(f'LIBRARY "{module}"\nEXPORTS\n{function}\n')
        library = tmp_path / f"lib{number}.a"
        run(["x86_64-w64-mingw32-dlltool", "-d", tmp_path / f"{number}.def", "-l", library])
        words.append(str(library))
    driver = tmp_path / "d.sys"
    run([*words[:4], tmp_path / "d.c", *words[4:], "-o", driver])
    return driver


def test_functions_that_a_release_lacks_are_named(tmp_path):
    imports = {"ntoskrnl.exe": "ExAllocatePool2", "fwpkclnt.sys": "FwpsNoSuchFunction9", "msvcrt.dll": "printf"}
    calls = "".join(f"int {name}(void); " for name in imports.values())
    body = " + ".join(f"{name}()" for name in imports.values())
    driver = link(tmp_path, imports, f"{calls}int DriverEntry(void) {{ return {body}; }}")

    found = [problem for problem in check_loadable(driver, release=RELEASE) if problem.endswith("[imports]")]
    assert sorted(problem.removesuffix(". [imports]").removeprefix("It imports ") for problem in found) == [
        "'fwpkclnt.sys!FwpsNoSuchFunction9': 'fwpkclnt.sys' of windows-server-2019 has no such function",
        "'msvcrt.dll!printf': 'msvcrt.dll' is no module of the kernel that drivers import from",
        "'ntoskrnl.exe!ExAllocatePool2': it came with build 19041, windows-server-2019 begins with build 17763",
    ]
    later = check_loadable(driver, release="windows-server-2025")
    assert not any("ExAllocatePool2" in problem or "FwpsNoSuch" in problem for problem in later)
    assert "fwpkclnt.sys!FwpsNoSuchFunction9" in unproven_imports(driver, release="windows-server-2025"), (
        "the list of that release is not complete, which is said"
    )


def test_imports_by_number_are_named(content, tmp_path):
    pe = pefile.PE(data=content, fast_load=True)
    pe.parse_data_directories([1])
    thunk = pe.DIRECTORY_ENTRY_IMPORT[0].struct
    place = pe.get_offset_from_rva(thunk.OriginalFirstThunk)
    found = problems(with_value(content, place, "<Q", (1 << 63) | 7), tmp_path)
    assert any("by number (#7)" in problem for problem in found), found


def test_an_unknown_release_is_a_usage_error(ours):
    with pytest.raises(UsageError, match="Windows release 'windows-95' is not known"):
        check_loadable(ours, release="windows-95")


def test_the_facts_say_where_they_are_from():
    from harness.wfp.data import load

    facts = load("kernel_exports")
    assert set(facts["sources"]) == set(facts["modules"])
    assert set(facts["pages"]) == set(facts["modules"]["ntoskrnl.exe"]["since"])
    assert all(page.startswith("https://learn.microsoft.com/") for page in facts["pages"].values())


def named_folder(tmp_path, name="windows-server-2019"):
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_a_driver_for_windows_is_refused_before_anything_boots(tmp_path, ours):
    folder = named_folder(tmp_path)
    assert load_package_for(ours, folder).is_signed
    driver = link(
        tmp_path,
        {"ntoskrnl.exe": "ExAllocatePool2"},
        "int ExAllocatePool2(void); int DriverEntry(void) { return ExAllocatePool2(); }",
    )
    with pytest.raises(DriverPackageError, match=r"would not load 'd\.sys' on windows-server-2019: .*ExAllocatePool2"):
        load_package_for(driver, folder)


def test_what_windows_merely_distrusts_is_noted(tmp_path):
    driver = link(tmp_path, {}, "int DriverEntry(void) { return 0; }")
    notes = []
    unsubscribe = steps.subscribe(lambda event: notes.append(event.title))
    try:
        package = load_package_for(driver, named_folder(tmp_path, "windows-11"))
    finally:
        unsubscribe()
    assert not package.is_signed
    assert "'d.sys': It has no version resource. [version]" in notes
    assert not any("[signature-place]" in text for text in notes), "a signed copy is deployed"
