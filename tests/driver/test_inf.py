"""The INF of a callout driver: what is made passes every rule, and each rule sees what breaks it."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path

import pytest

from harness.driver.inf import StartType, load_inf, render_inf
from harness.driver.inf_check import _CHECKS, check_inf, copied_files, find_service, load_inf_rules
from harness.errors import DriverPackageError

OURS = Path(__file__).parents[2] / "drivers" / "callout" / "wfpcallout.inf"
VERSION = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]


def make(**changes):
    made = {
        "service": "wfpcallout",
        "provider": "wfp-hil",
        "description": "WFP reference callout driver",
        "version": f"{VERSION}.0",
        "date": dt.date(2026, 11, 21),
    } | changes
    return render_inf("wfpcallout.sys", **made)


def test_the_inf_in_the_checkout_is_the_one_that_is_made():
    note = OURS.read_text().splitlines()[0].removeprefix("; ")
    assert OURS.read_bytes().decode() == make(note=note)


@pytest.mark.parametrize("start", list(StartType))
def test_what_is_made_passes_every_rule(start):
    assert check_inf(make(start=start).encode()) == []


def test_every_rule_has_a_check_and_a_source():
    rules = load_inf_rules()
    assert {*_CHECKS, "encoding"} == set(rules)
    assert all(str(rule["source"]).startswith("https://") and rule["text"] for rule in rules.values())


# What is changed in the text, and the rule that has to see it.
BROKEN = [
    ("Signature   = \"$WINDOWS NT$\"", "Signature = \"$CHICAGO$\"", "signature"),
    ("Provider    = %Provider%\r\n", "", "version-complete"),
    ("ClassGuid   = {57465043", "ClassGuid   = {57465044", "class"),
    ("Provider    = \"wfp-hil\"", "Provider = \"Microsoft\"", "provider"),
    ("11/21/2026,", "2026-11-21,", "driver-version"),
    ("11/21/2026,", "13/21/2026,", "driver-version"),
    (f",{VERSION}.0", ",1.65535", "driver-version"),
    ("CatalogFile = wfpcallout.cat\r\n", "", "catalog"),
    ("CatalogFile = wfpcallout.cat", "CatalogFile = sub\\wfpcallout.cat", "catalog"),
    ("PnpLockdown = 1", "PnpLockdown = 0", "lockdown"),
    ("[Files]", "[Manufacturer]\r\n%Provider% = Models,NTamd64\r\n[Files]", "no-devices"),
    ("[DefaultInstall.NTamd64]", "[DefaultInstall]", "decorated"),
    ("[Files]", "[DefaultInstall]\r\nCopyFiles = Files\r\n[Files]", "decorated"),
    ("[Files]", "[DefaultUninstall.NTamd64]\r\nDelFiles = Files\r\n[Files]", "no-uninstall"),
    ("DefaultDestDir = 13", "DefaultDestDir = 12", "driver-store"),
    ("DefaultDestDir = 13", "DefaultDestDir = 13,sub", "same-name"),
    ("[Files]\r\nwfpcallout.sys", "[Files]\r\nwfpcallout.sys,other.sys", "same-name"),
    ("[SourceDisksFiles]\r\nwfpcallout.sys = 1", "[SourceDisksFiles]\r\nother.sys = 1", "listed"),
    ("wfpcallout.sys = 1", "wfpcallout.sys = 2", "listed"),
    ("CopyFiles  = Files", "CopyFiles  = wfpcallout.sys", "sections-exist"),
    ("AddService = wfpcallout,,Service", "AddService = wfpcallout,,Other", "sections-exist"),
    ("[Files]", "[Left]\r\nx = 1\r\n[Files]", "sections-used"),
    ("Description = \"WFP reference callout driver\"\r\n", "", "strings"),
    ("AddService = wfpcallout,,Service", "AddService = wfpcallout", "services"),
    ("ServiceType    = 1", "ServiceType    = 16", "service-complete"),
    ("ErrorControl   = 1", "ErrorControl   = x", "service-complete"),
    ("%13%\\wfpcallout.sys", "%12%\\wfpcallout.sys", "service-binary"),
    ("%13%\\wfpcallout.sys", "%13%\\other.sys", "service-binary"),
    ("StartType      = 3", "StartType      = 0", "start-order"),
    ("StartType      = 3", "StartType      = 2", "start-order"),
    ("CopyFiles  = Files", "CopyFiles  = Files\r\nDelFiles = Files", "no-legacy"),
    ("[Files]", "[DefaultInstall.NTamd64.CoInstallers]\r\nAddReg = Files\r\n[Files]", "no-legacy"),
    ("[Files]", "[Keys]\r\nHKLM,Software\\x,y,,z\r\n[Files]", "relative-keys"),
    ("[Version]", "x = 1\r\n[Version]", "syntax"),
    ("[Version]", "[Version", "syntax"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "rule"), BROKEN, ids=[f"{rule}-{n}" for n, (*_, rule) in enumerate(BROKEN)])
def test_each_rule_sees_what_breaks_it(old, new, rule):
    text = make()
    assert old in text
    broken = text.replace(old, new)
    if rule == "relative-keys":
        broken = broken.replace("CopyFiles  = Files", "CopyFiles  = Files\r\nAddReg = Keys")
    found = check_inf(broken)
    assert any(problem.endswith(f"[{rule}]") for problem in found), found
    assert all(problem[:-1].rpartition(" [")[0].endswith(".") for problem in found), "whole sentences"


def test_every_rule_is_broken_by_some_test():
    assert {rule for *_, rule in BROKEN} == set(_CHECKS)


def test_utf8_is_not_what_infverif_reads():
    text = make().replace("WFP reference", "WFP-Prüf")
    assert [problem for problem in check_inf(text.encode()) if problem.endswith("[encoding]")]
    assert check_inf(b"\xff\xfe" + text.encode("utf-16-le")) == []


def test_a_decorated_uninstall_for_older_windows_is_allowed():
    legacy = "[DefaultUninstall.NTamd64]\r\nLegacyUninstall = 1\r\nDelFiles = Files\r\n[Files]"
    assert check_inf(make().replace("[Files]", legacy)) == []


def test_comments_quotes_and_continued_lines_are_read():
    inf = load_inf('[A]\nkey = "a;b", \\\n c ; comment\n"quo=ted" = "x""y"\n[STRINGS]\nS = "one, two"\n[b]\n%s%\n')
    assert inf.values("a", "KEY") == ("a;b", "c")
    assert inf.value("A", "quo=ted") == 'x"y'
    assert inf.expand("%s% %13%") == "one, two %13%"


def test_what_is_copied_and_the_service_are_found():
    inf = load_inf(make())
    assert copied_files(inf) == ["wfpcallout.sys"]
    assert find_service(inf) == ("wfpcallout", "Service")


@pytest.mark.parametrize("changes", [{"service": "a b"}, {"provider": 'x"y'}, {"description": "100%"}])
def test_names_that_cannot_stand_in_an_inf(changes):
    with pytest.raises(DriverPackageError, match="cannot stand in an INF"):
        make(**changes)
