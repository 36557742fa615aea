"""Answer files: those of every profile are good, and what is broken on purpose is found."""

from __future__ import annotations

import dataclasses
import re

import pytest
from conftest import PASSWORD
from lxml import etree

from harness.config import GuestKind, known_profiles, load_profile
from harness.errors import UsageError
from harness.unattend import InstallPlan, check_answer, decode_password, render_answer
from harness.unattend.answer import NAMESPACE, WCM
from harness.unattend.files import setup_scripts
from harness.unattend.schema import PASSES, load_schema

NAMES = {"u": NAMESPACE}
SCRIPTS = frozenset(path.name for path in setup_scripts())
WINDOWS = [name for name in known_profiles() if load_profile(name).kind is GuestKind.WINDOWS]


def find(xml: bytes, path: str) -> list[str]:
    return [element.text or "" for element in etree.fromstring(xml).iterfind(path, NAMES)]


def test_the_five_editions_have_profiles():
    assert {"windows-10", "windows-11", "windows-server-2019", "windows-server-2022", "windows-server-2025"} <= set(
        WINDOWS
    )


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("key", [None, "ABCDE-12345-FGHIJ-67890-KLMNO"], ids=["no-key", "key"])
def test_the_answer_file_of_every_profile_is_good(name, key):
    install = load_profile(name).install
    assert install is not None
    plan = InstallPlan(
        computer_name=install.computer_name,
        image_name=install.editions[0],
        image_index=1,
        password=PASSWORD,
        product_key=key,
        bypass_requirements=install.bypass_requirements,
        driver_folders=("E:\\viostor\\w11\\amd64", "F:\\viostor\\w11\\amd64"),
    )

    assert check_answer(render_answer(plan), scripts=SCRIPTS) == []


@pytest.mark.parametrize("name", WINDOWS)
def test_stages_of_the_answer_file_and_the_scripts_are_those_of_the_profile(name, plan):
    install = load_profile(name).install
    assert install is not None
    answer = re.findall(r"echo wfp-hil: stage ([a-z-]+)&gt;COM1", render_answer(plan).decode())
    scripts = [path.read_text() for path in setup_scripts() if path.name in {"first-logon.ps1", "boot.ps1"}]
    boot, first = scripts
    called = re.findall(r"^ *Invoke-Stage -Name '([a-z-]+)'", first, re.MULTILINE) + re.findall(
        r"^ *Invoke-Stage -Name '([a-z-]+)'", boot, re.MULTILINE
    )

    assert [*answer, *called, "ready"] == list(install.stages)
    assert f"Send-Line -Text '{load_profile(name).boot.ready_line}'" in boot


def test_what_the_plan_says_is_in_the_file(plan):
    plan = dataclasses.replace(
        plan, locale="de-DE", keyboard="0407:00000407", product_key="ABCDE-12345-FGHIJ-67890-KLMNO"
    )

    xml = render_answer(plan)

    assert find(xml, ".//u:MetaData/u:Value") == ["3"]
    assert find(xml, ".//u:ComputerName") == ["WFP11"]
    assert find(xml, ".//u:ProductKey/u:Key") == [plan.product_key]
    assert set(find(xml, ".//u:InputLocale")) == {"0407:00000407"}
    assert set(find(xml, ".//u:UserLocale")) == {"de-DE"}
    assert [decode_password(value, "Password") for value in find(xml, ".//u:AutoLogon/u:Password/u:Value")] == [
        PASSWORD
    ]
    assert [
        decode_password(value, "AdministratorPassword") for value in find(xml, ".//u:AdministratorPassword/u:Value")
    ] == [PASSWORD]
    assert PASSWORD.encode() not in xml


def test_passes_stand_in_the_order_in_which_setup_runs_them(plan):
    passes = [settings.get("pass") for settings in etree.fromstring(render_answer(plan))]

    assert passes == sorted(passes, key=PASSES.index)


def test_another_user_than_the_administrator_is_made_and_nobody_beside_it(plan):
    xml = render_answer(dataclasses.replace(plan, user="tester"))

    assert find(xml, ".//u:LocalAccount/u:Name") == ["tester"]


def test_requirements_are_only_bypassed_when_asked(plan):
    assert b"LabConfig" not in render_answer(plan)
    assert b"BypassTPMCheck" in render_answer(dataclasses.replace(plan, bypass_requirements=True))


ITEM = f'{{{WCM}}}action="add"'


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("<unattend", "<attend", "is not XML"),
        (NAMESPACE, "urn:other", "root of the answer file"),
        ('pass="specialize"', 'pass="specialise"', "no pass of Windows Setup"),
        ('pass="specialize"', 'pass="windowsPE"', "stands there twice"),
        ('pass="oobeSystem"', 'pass="auditSystem"', "does not work in pass 'auditSystem'"),
        ('name="Microsoft-Windows-Deployment"', 'name="Microsoft-Windows-Deploy"', "is not in the schema"),
        ('name="Microsoft-Windows-International-Core"', 'name="Microsoft-Windows-Shell-Setup"', "stands twice in pass"),
        ('"amd64"', '"x86"', "processorArchitecture 'x86'"),
        ("31bf3856ad364e35", "31bf3856ad364e36", "publicKeyToken"),
        ("<DiskID>0</DiskID>", "<DiskID>first</DiskID>", "wanted a whole number"),
        ("<WillWipeDisk>true<", "<WillWipeDisk>yes<", "wanted 'true' or 'false'"),
        ("WillWipeDisk", "WipeDisk", "'Microsoft-Windows-Setup/DiskConfiguration/Disk/WipeDisk' is not in the schema"),
        ("<Type>MSR<", "<Type>Reserved<", "wanted one of Primary, EFI"),
        ("<Type>EFI<", "<Type>MSR<", "0 EFI partitions"),
        ("<Extend>true</Extend>", "", "either Size or Extend"),
        ("<Size>260</Size>", "<Size>260</Size><Extend>true</Extend>", "either Size or Extend"),
        ("<Format>NTFS<", "<Format>FAT32<", "formatted as FAT32"),
        ("<PartitionID>3</PartitionID>\n          </InstallTo>", "<PartitionID>4</PartitionID>\n          </InstallTo>",
         "partition 4, which is formatted as None"),
        ("<Order>3</Order>", "<Order>2</Order>", "wanted 1 to"),
        ("<ComputerName>WFP11<", "<ComputerName>A-NAME-OF-16-CHR<", "has 16 characters, allowed are 15"),
        ("<ComputerName>WFP11<", "<ComputerName>WFP_11<", "not of the form"),
        ("<FullName>wfp-hil<", "<FullName><", "is empty, at which Setup stops"),
        ("<AcceptEula>true</AcceptEula>", "", "lacks 'AcceptEula'"),
        ("<Username>Administrator</Username>", "<Username>a</Username><Username>b</Username>", "stands there 2 times"),
        ('<LocalAccount wcm:action="add">', "<LocalAccount>", "items of lists have 'add'"),
        ("<TimeZone>UTC</TimeZone>", "<TimeZone><Zone>UTC</Zone></TimeZone>", "holds elements, wanted text"),
        ("<OOBE>", "<OOBE>words", "holds text, wanted elements"),
        ("<PlainText>false<", "<PlainText>true<", "anybody can read"),
        ("<AdministratorPassword>", "<AdministratorPassword><!-- -->", None),
        ("<InputLocale>0409:00000409<", "<InputLocale>english<", "not of the form"),
        ("&gt;COM1", "1&gt;COM1", "no stage line for COM1"),
        ("first-logon.ps1", "last-logon.ps1", "There is no script 'last-logon.ps1'"),
        (" /f<", "<", "without /f reg asks and waits"),
    ],
)  # fmt: skip
def test_what_setup_would_refuse_is_found(plan, right, wrong, problem):
    good = render_answer(plan).decode()
    assert right in good

    problems = check_answer(good.replace(right, wrong).encode(), scripts=SCRIPTS)

    if problem is None:
        assert problems == []
    else:
        assert any(problem in said for said in problems), problems


def test_a_password_of_the_wrong_element_is_found(plan):
    xml = render_answer(plan).decode()
    ordinary = find(xml.encode(), ".//u:AutoLogon/u:Password/u:Value")[0]
    administrators = find(xml.encode(), ".//u:AdministratorPassword/u:Value")[0]

    problems = check_answer(xml.replace(administrators, ordinary).encode())

    assert any("does not end with 'AdministratorPassword'" in problem for problem in problems)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("computer_name", "a-name-of-16-chr", "no computer name"),
        ("computer_name", "12345", "no computer name"),
        ("product_key", "ABCDE", "no product key"),
        ("image_index", 0, "number 1"),
        ("password", "", "wanted 1 to"),
        ("password", "a" * 128, "wanted 1 to"),
        ("password", "onlysmallletters", "too simple"),
        ("keyboard", "en-US", "no keyboard"),
        ("locale", "English", "no locale"),
        ("architecture", "arm64", "Architecture 'arm64'"),
    ],
)
def test_a_plan_that_setup_would_ask_about_cannot_be_made(plan, field, value, said):
    with pytest.raises(UsageError, match=said):
        dataclasses.replace(plan, **{field: value})


def test_every_setting_of_the_schema_has_its_page_and_its_parents():
    schema = load_schema()
    for (component, path), setting in schema.settings.items():
        assert component in schema.components
        assert setting.source.startswith("https://learn.microsoft.com/"), path
        assert setting.type in {"section", "list", "text", "integer", "boolean", "choice", "password", "command"}, path
        assert bool(setting.values) == (setting.type == "choice"), path
        re.compile(setting.pattern)
        parent = path.rpartition("/")[0]
        assert not parent or schema.settings[component, parent].type in {"section", "list"}, path
    for component, source in schema.sources.items():
        assert source.lower().endswith(component.lower())
        assert set(schema.components[component]) <= set(PASSES)
