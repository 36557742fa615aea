"""The guest's PowerShell scripts, as far as they can be judged without PowerShell: parsed, and held against rules."""

from __future__ import annotations

import re

import cmdlets
import powershell
import pytest

from harness.config import profiles_root
from harness.images.install.stages import SignReader
from harness.process import run
from harness.unattend.files import registry_values

FOLDER = profiles_root() / "windows"
SCRIPTS = sorted(FOLDER.rglob("*.ps1"))
REPORT = (FOLDER / "setup" / "report.ps1").read_bytes()
OWN = powershell.function_parameters(REPORT)
SHARED = frozenset(powershell.set_variables(REPORT) | {"$settings"})

each_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)


def known(source: bytes) -> dict[str, powershell.Parameters]:
    return OWN | powershell.function_parameters(source)


def complaints(source: bytes) -> list[str]:
    """What is wrong with a script, as sentences."""
    text = source.decode("utf-8")
    found = [f"{place} cannot be parsed" for place in powershell.errors(source)]
    if not source.isascii():
        found.append("is not ASCII; PowerShell 5.1 reads what has no byte order mark in the code page of the guest")
    if "\r" in text or "\t" in text:
        found.append("has tabs or carriage returns")
    musts = ("#requires -Version 5.1", "Set-StrictMode -Version 3.0", "$ErrorActionPreference = 'Stop'")
    found += [f"lacks the line '{must}'" for must in musts if must not in text.splitlines()]
    found += [f"reads {name}, which nobody sets" for name in powershell.unset_variables(source, SHARED)]
    # What looks like a drive or scope in a string is read as one.
    found += [f"has {slip}, which is a scope" for slip in re.findall(r"\$(?!env:|script:)\w+:(?=[^:])", text)]
    found += [f"assigns to its own parameter {name}" for name in powershell.overwritten_parameters(source)]
    for command in powershell.commands(source):
        found += [f"line {command.line}: {problem}" for problem in judge(command, known(source))]
    return found


def judge(command: powershell.Command, own: dict[str, powershell.Parameters]) -> list[str]:
    if command.name.lower() in own:
        given = {name.lower().removeprefix("-") for name, _ in command.parameters if name}
        declared = own[command.name.lower()]
        problems = [f"{command.name} has no parameter '{name}'" for name in sorted(given - declared.names)]
        problems += [f"{command.name} lacks '{name}'" for name in sorted(declared.mandatory - given)]
        return problems + (judge_program(command) if command.name == "Invoke-Program" else [])
    allowed = cmdlets.parameters(command.name)
    if allowed is None:
        return [f"'{command.name}' is not known: an alias, a slip, or missing in cmdlets.py"]
    given = [name.removeprefix("-").lower() for name, _ in command.parameters if name]
    problems = [f"{command.name} has no parameter '{name}' here" for name in given if name not in allowed]
    problems += [f"{command.name} has '{name}' twice" for name in sorted(set(given)) if given.count(name) > 1]
    loose = [value for name, value in command.parameters if not name and not value.startswith("@")]
    return problems + [f"{command.name} is given '{value}' without a parameter's name" for value in loose]


def judge_program(command: powershell.Command) -> list[str]:
    program = command.argument("Path") or ""
    if program.startswith("$"):
        return []
    if program not in cmdlets.PROGRAMS:
        return [f"program '{program}' is not known"]
    first, _ = cmdlets.PROGRAMS[program]
    words = (command.argument("Arguments") or "").strip("'").split(",")[0].strip(" '")
    if words.startswith("$") or words in first:
        return []
    return [f"{program} begins with '{words}', wanted one of {sorted(first)}"]


@each_script
def test_scripts_keep_the_rules(path):
    assert complaints(path.read_bytes()) == []


@each_script
def test_files_that_a_script_names_are_there(path):
    text = path.read_text()
    for name in re.findall(r"\$PSScriptRoot -ChildPath '([^']+)'", text):
        assert (path.parent / name).is_file(), name


@each_script
def test_scripts_are_given_the_parameters_that_they_have(path):
    for name, given in powershell.calls_of_scripts(path.read_bytes()):
        declared = powershell.script_parameters((path.parent / name).read_bytes())
        assert given <= declared.names, (name, given)
        assert declared.mandatory <= given, (name, given)


def test_the_calls_of_scripts_are_seen():
    first, boot = ((FOLDER / "setup" / name).read_bytes() for name in ("first-logon.ps1", "boot.ps1"))

    assert ("network.ps1", frozenset({"settings"})) in powershell.calls_of_scripts(first)
    assert ("network.ps1", frozenset({"settings", "addresses"})) in powershell.calls_of_scripts(boot)


@each_script
def test_nothing_waits_for_somebody_or_without_end(path):
    text = path.read_text()
    for never in ("Read-Host", "Pause", "Get-Credential", "while ($true)", "-Confirm:$true", "Set-ExecutionPolicy"):
        assert never not in text, never
    # Windows Firewall and the filtering engine stay as they are; a guest without them is no test of a filter driver.
    assert not re.search(r"-Enabled False|Stop-Service[^\n]*(mpssvc|BFE)|'(mpssvc|BFE)'", text, re.IGNORECASE)


def test_conditions_of_firewall_rules_are_parameters():
    for path in SCRIPTS:
        for table in re.findall(r"-Conditions @\{(.*?)\}", path.read_text(), re.DOTALL):
            keys = re.findall(r"(?:^|;)\s*(\w+)\s*=", table, re.MULTILINE)
            assert keys, (path.name, table)
            assert set(keys) <= set(cmdlets.INBOUND.split()), (path.name, keys)


def test_what_scripts_write_is_what_the_host_reads():
    lines = re.findall(
        r"Send-Line -Text ['\"](wfp-hil: .*)['\"]$", "".join(path.read_text() for path in SCRIPTS), re.MULTILINE
    )
    written = [re.sub(r"\$\{?(Name|name)\}?", "winrm", line) for line in lines]
    signs = {line: SignReader().feed(f"{line}\r\n") for line in written}

    kinds = {line.split()[1].rstrip(":"): [(sign.kind, sign.stage) for sign in found] for line, found in signs.items()}
    assert kinds["stage"] == [("stage", "winrm")]
    assert kinds["ready"] == [("ready", "ready")]
    assert kinds["note"] == []
    failed = [(sign.kind, sign.stage) for line, found in signs.items() if "failed" in line for sign in found]
    assert sorted(failed) == [("failed", "boot"), ("failed", "winrm")]


def test_registry_stages_that_scripts_set_are_those_of_the_table():
    text = "".join(path.read_text() for path in SCRIPTS)

    assert set(re.findall(r"Set-RegistryOfStage -Settings \$Settings -Stage '([a-z-]+)'", text)) == set(
        registry_values()
    )


def test_registry_values_in_scripts_have_whole_paths_and_types():
    for path in SCRIPTS:
        if path.name == "report.ps1":
            continue
        for command in powershell.commands(path.read_bytes()):
            if command.name != "Set-RegistryValue":
                continue
            kind, value = command.argument("Type"), command.argument("Value") or ""
            assert kind in {"DWord", "String"}, (path.name, command.line)
            if kind == "DWord" and not value.startswith("$"):
                assert value.isdigit(), (path.name, command.line)


def test_what_must_stay_on_or_off():
    """The decisions that a slip would undo without anybody noticing."""
    winrm = (FOLDER / "setup" / "winrm.ps1").read_text()
    assert "Service\\AllowUnencrypted' -Value $false" in winrm
    assert "Service\\Auth\\Basic' -Value $false" in winrm
    assert "Service\\Auth\\Negotiate' -Value $true" in winrm
    assert "-Transport HTTPS" in winrm
    assert "-Transport HTTP " not in winrm
    sshd = (FOLDER / "setup" / "sshd_config").read_text()
    assert "\nPasswordAuthentication no\n" in sshd
    quiet = (FOLDER / "setup" / "quiet.ps1").read_text()
    assert "Set-NetFirewallProfile -Profile 'Domain', 'Private', 'Public' -Enabled True" in quiet
    for name in ("winrm.ps1", "ssh.ps1"):
        assert "InterfaceAlias = $Settings.management.name" in (FOLDER / "setup" / name).read_text()
    boot = (FOLDER / "setup" / "boot.ps1").read_text()
    # An id of the last boot would say that there was no reboot, so nobody gets in before it is new.
    assert (
        boot.index("boot-id") < boot.index("Start-Service") < boot.index("network.ps1") < boot.index("wfp-hil: ready")
    )
    for name, service in (("winrm.ps1", "WinRM"), ("ssh.ps1", "sshd")):
        text = (FOLDER / "setup" / name).read_text()
        assert f"Set-Service -Name '{service}' -StartupType Manual" in text
        assert f"'{service}'" in boot


GOOD = b"""# A script.
#requires -Version 5.1
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Get-Service -Name 'x' -ErrorAction SilentlyContinue | Out-Null
"""


def test_the_rules_let_a_good_script_pass():
    assert complaints(GOOD) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (b"'x'", b"'x", "cannot be parsed"),
        (b"| Out-Null", b"| { Out-Null", "cannot be parsed"),
        (b"'x'", "\u2018x\u2019".encode(), "is not ASCII"),
        (b"\n", b"\r\n", "carriage returns"),
        (b"Set-StrictMode -Version 3.0", b"", "lacks the line 'Set-StrictMode"),
        (b"$ErrorActionPreference = 'Stop'", b"$ErrorActionPreference = 'Continue'", "lacks the line '$Error"),
        (b"Set-StrictMode", b"param([string] $File)\n$file = 'x'\nSet-StrictMode", "its own parameter $file"),
        (b"Set-StrictMode", b"param($One)\nforeach ($one in 1, 2) { $one }\nSet-StrictMode", "its own parameter $one"),
        (b"'x'", b"$nothing", "reads $nothing, which nobody sets"),
        (b"'x'", b'"$null: x"', "has $null:, which is a scope"),
        (b"Get-Service -Name 'x'", b"Write-Stage -Nam 'x'", "no parameter 'nam'"),
        (b"Get-Service -Name 'x'", b"Invoke-Stage -Name 'x'", "Invoke-Stage lacks 'action'"),
        (b"Get-Service", b"gsv", "'gsv' is not known"),
        (b"Get-Service", b"Get-Servce", "'Get-Servce' is not known"),
        (b"| Out-Null", b"| % { $_ }", "'%' is not known"),
        (b"-Name", b"-Naem", "no parameter 'naem'"),
        (b"-Name", b"-ErrorAction Stop -Name", "'erroraction' twice"),
        (b"-Name 'x'", b"'x'", "without a parameter's name"),
        (b"Get-Service -Name 'x'", b"Invoke-Program -Path 'format.com' -Arguments 'c:'", "program 'format.com'"),
        (b"Get-Service -Name 'x'", b"Invoke-Program -Path 'bcdedit.exe' -Arguments '/est', 'x'", "begins with '/est'"),
    ],
)
def test_the_rules_find_what_is_wrong(right, wrong, said):
    assert right in GOOD

    found = complaints(GOOD.replace(right, wrong))

    assert any(said in complaint for complaint in found), found


def test_known_cmdlets_are_used_and_have_pages():
    used = {command.name for path in SCRIPTS for command in powershell.commands(path.read_bytes())}
    listed = {name for names in cmdlets.MODULES.values() for name in names}

    assert listed - used == set()
    assert all(cmdlets.source(name).startswith("https://learn.microsoft.com/") for name in listed)


def test_the_c_sharp_of_the_scripts_compiles(tmp_path):
    """PowerShell 5.1 compiles it in the guest, with a compiler for C# 5, as Mono's can be."""
    for path in sorted((FOLDER / "setup").glob("*.cs")):
        done = run(
            ["mcs", "-langversion:5", "-warnaserror", "-target:library", f"-out:{tmp_path / 'x.dll'}", path],
            check=False,
        )
        assert done.exit_code == 0, done.stdout + done.stderr
        for kind, method in re.findall(r"\[(WfpHil\.\w+)\]::(\w+)\(", (FOLDER / "setup" / "seal.ps1").read_text()):
            assert f"public static class {kind.partition('.')[2]}" in path.read_text()
            assert f"public static void {method}(" in path.read_text()
