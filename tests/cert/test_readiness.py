"""What a look at the package finds: each rule with a file made to break it, and the requirement that it endangers."""

from __future__ import annotations

import struct

import pefile
import pytest

from harness.cert import all_requirements, load_answers
from harness.cert.readiness import _data, examine_package
from harness.driver.inf_check import load_inf_rules
from harness.driver.loader import load_loader_rules
from harness.errors import DriverPackageError
from harness.process import run

pytestmark = pytest.mark.timeout(600)  # compilers and signing tools, which share a busy host

INTEGRITY = "Filter.Driver.DeviceGuard.DriverCompatibility"
QUALITY = "Filter.Driver.Fundamentals.DriverQuality"
TDI = "Filter.Driver.Security.NoTDIFilterAndLSP"
PLATFORM_ONLY = "Filter.Driver.WindowsFilteringPlatform.Firewall.UseWindowsFilteringPlatform"


def linked(folder, module, function):
    """A driver that imports one function."""
    (folder / "d.c").write_text(f"int {function}(void); int DriverEntry(void) {{ return {function}(); }}")
    (folder / "d.def").write_text(f'LIBRARY "{module}"\nEXPORTS\n{function}\n')
    run(["x86_64-w64-mingw32-dlltool", "-d", folder / "d.def", "-l", folder / "libd.a"])
    words = ["x86_64-w64-mingw32-gcc", "-nostdlib", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry"]
    run([*words, folder / "d.c", folder / "libd.a", "-o", folder / "d.sys"])
    return folder / "d.sys"


def attaching(folder, device):
    """A driver that names a device of TCP/IP and can attach itself to others."""
    (folder / "d.c").write_text(
        f'int IoAttachDevice(const void *);int DriverEntry(void) {{ return IoAttachDevice(L"{device}"); }}'.replace(
            "\\", "\\\\"
        )
    )
    (folder / "d.def").write_text('LIBRARY "ntoskrnl.exe"\nEXPORTS\nIoAttachDevice\n')
    run(["x86_64-w64-mingw32-dlltool", "-d", folder / "d.def", "-l", folder / "libd.a"])
    words = ["x86_64-w64-mingw32-gcc", "-nostdlib", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry"]
    run([*words, folder / "d.c", folder / "libd.a", "-o", folder / "d.sys"])
    return folder / "d.sys"


@pytest.fixture
def with_inf(answers_file, ours, tmp_path):
    """Our own package, with an INF in which something is replaced."""

    def with_inf(*changes):
        content = ours.with_suffix(".inf").read_bytes()
        for old, new in changes:
            assert old in content
            content = content.replace(old, new)
        (tmp_path / "x.inf").write_bytes(content)
        path = answers_file()
        path.write_text(path.read_text().replace("[features]", f'inf = "{tmp_path / "x.inf"}"\n[features]'))
        return load_answers(path)

    return with_inf


def found(answers):
    return {(each.requirement, each.breaks): each.text for each in examine_package(answers)}


@pytest.mark.parametrize(
    ("module", "function", "wanted", "others"),
    [
        ("ntoskrnl.exe", "ExAllocatePoolWithTag", {(QUALITY, False), (INTEGRITY, False)}, {(TDI, True)}),
        ("ntoskrnl.exe", "ExAllocatePool2", set(), {(TDI, True), (PLATFORM_ONLY, True)}),
        ("ntoskrnl.exe", "MmMapIoSpace", {(INTEGRITY, False)}, {(TDI, True)}),
        ("tdi.sys", "TdiRegisterPnPHandlers", {(TDI, True), (PLATFORM_ONLY, True)}, set()),
        ("ndis.sys", "NdisFRegisterFilterDriver", {(PLATFORM_ONLY, True)}, {(TDI, True)}),
    ],
)
def test_imports_that_endanger_a_requirement_are_named(answers_file, tmp_path, module, function, wanted, others):
    findings = examine_package(load_answers(answers_file(driver=str(linked(tmp_path, module, function)))))
    named = {(each.requirement, each.breaks) for each in findings if f"'{function}'" in each.text and each.instead}
    assert wanted <= named
    assert not others & named


@pytest.mark.parametrize(("device", "told"), [(r"\Device\Tcp", True), (r"\Device\Mine", False)])
def test_what_can_attach_itself_to_tcpip_is_to_be_looked_at(answers_file, tmp_path, device, told):
    findings = examine_package(load_answers(answers_file(driver=str(attaching(tmp_path, device)))))
    named = [each.text for each in findings if each.requirement == TDI and not each.breaks]
    wanted = r"It can attach itself to devices, and names '\Device\Tcp', as a TDI filter does."
    assert named == ([wanted] if told else [])


def test_what_concerns_firewalls_is_told_of_firewalls_alone(answers_file, tmp_path):
    driver = str(linked(tmp_path, "ndis.sys", "NdisFRegisterFilterDriver"))
    assert (PLATFORM_ONLY, True) not in found(load_answers(answers_file(driver=driver, firewall="false")))


def test_writable_code_breaks_memory_integrity(answers_file, ours, tmp_path):
    content = bytearray(ours.read_bytes())
    pe = pefile.PE(data=bytes(content), fast_load=True)
    text = next(section for section in pe.sections if section.Name.startswith(b".text"))
    place = text.get_field_absolute_offset("Characteristics")
    struct.pack_into("<I", content, place, text.Characteristics | 0x80000000)
    (tmp_path / "wfpcallout.sys").write_bytes(content)
    findings = examine_package(load_answers(answers_file(driver=str(tmp_path / "wfpcallout.sys"))))
    assert any(
        e.requirement == INTEGRITY and e.breaks and "'.text' is writable and executable" in e.text for e in findings
    )


def test_a_driver_without_version_resource_breaks_its_requirement(answers_file, tmp_path):
    findings = found(load_answers(answers_file(driver=str(linked(tmp_path, "ntoskrnl.exe", "ExAllocatePool2")))))
    assert "version resource" in findings[INTEGRITY, True]


def test_a_file_without_a_version_of_its_own_is_to_be_looked_at(answers_file, ours, tmp_path):
    content = bytearray(ours.read_bytes())
    at = content.index(struct.pack("<I", 0xFEEF04BD))  # VS_FIXEDFILEINFO: signature, its version, then the file's
    content[at + 8 : at + 16] = bytes(8)
    (tmp_path / ours.name).write_bytes(content)
    findings = examine_package(load_answers(answers_file(driver=str(tmp_path / ours.name))))
    assert any(each.text == "The file version is 0.0.0.0." and not each.breaks for each in findings)


def test_names_that_disagree_are_to_be_looked_at(answers_file, ours, tmp_path):
    other = tmp_path / "other.sys"
    other.write_bytes(ours.read_bytes())
    texts = [each.text for each in examine_package(load_answers(answers_file(driver=str(other), company='"Contoso"')))]
    assert "CompanyName is 'wfp-hil' in the file and 'Contoso' in driver.toml." in texts
    assert "OriginalFilename is 'wfpcallout.sys', and the file is called 'other.sys'." in texts
    assert any(text.startswith("There is no INF beside 'other.sys'") for text in texts)


def test_an_inf_that_breaks_a_rule_breaks_the_requirement(with_inf):
    answers = with_inf((b"PnpLockdown = 1", b"PnpLockdown = 0"))
    assert found(answers)[QUALITY, True] == "'x.inf': PnpLockdown is '0', wanted 1."


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((b"= WFPCALLOUTS", b"= NetService"), "The class is 'NetService'"),
        ((b"[Strings]", b"[Spare]\r\nkey = 1\r\n[Strings]"), "[Spare] is not used"),
    ],
)
def test_what_a_package_may_have_its_reasons_for_is_to_be_looked_at(with_inf, change, text):
    findings = [each for each in examine_package(with_inf(change)) if text in each.text]
    assert [(each.requirement, each.breaks) for each in findings] == [(QUALITY, False)]


def test_an_inf_of_another_driver_breaks_the_requirement(with_inf):
    answers = with_inf((b"wfpcallout.sys", b"other.sys"))
    assert found(answers)[QUALITY, True] == "'x.inf' does not copy 'wfpcallout.sys'."


def test_what_starts_at_boot_is_signed_itself(with_inf, ours, tmp_path):
    boot = (b"StartType      = 3", b"StartType      = 0")
    wanted = "'x.inf' starts it at boot, and 'wfpcallout.sys' has no signature in the file itself."
    answers = with_inf(boot)
    assert wanted not in [each.text for each in examine_package(answers)]
    run(["osslsigncode", "remove-signature", "-in", ours, "-out", tmp_path / ours.name])
    answers.path.write_text(answers.path.read_text().replace(str(ours), str(tmp_path / ours.name)))
    assert wanted in [each.text for each in examine_package(load_answers(answers.path)) if not each.breaks]
    assert wanted not in [each.text for each in examine_package(with_inf())]


def test_our_own_package_has_nothing_that_breaks(answers):
    assert not [each for each in examine_package(answers) if each.breaks]


def test_an_inf_or_driver_that_is_not_there_is_named(answers_file, tmp_path):
    with pytest.raises(DriverPackageError, match=r"gone\.sys' could not be read"):
        examine_package(load_answers(answers_file(driver=str(tmp_path / "gone.sys"))))
    path = answers_file()
    path.write_text(path.read_text().replace("[features]", 'inf = "gone.inf"\n[features]'))
    with pytest.raises(DriverPackageError, match=r"The INF '.*gone\.inf' could not be read"):
        examine_package(load_answers(path))


def test_every_rule_of_the_loader_has_its_requirement():
    data = _data()
    assert sorted(name for entry in data["rules"] for name in entry["names"]) == sorted(load_loader_rules())
    assert set(data["inf"]["look"]) <= set(load_inf_rules())
    for entry in [*data["import"], *data["rules"], *data["attached"], data["inf"], data["boot"]]:
        assert entry["requirement"] in all_requirements()
        assert data["pages"][entry["page"]].startswith("https://learn.microsoft.com/")
