"""Commands of answer files: good ones pass, and each way to get one wrong is named."""

from __future__ import annotations

import pytest

from harness.unattend.commands import check_command

GOOD = [
    'cmd /c "echo wfp-hil: stage setup-started>COM1 & exit /b 0"',
    'cmd /c "(for %d in (C D) do if exist %d:\\a.json copy /y %d:\\b.xml C:\\unattend.xml) & exit /b 0"',
    "reg add HKLM\\SYSTEM\\Setup\\LabConfig /v BypassTPMCheck /t REG_DWORD /d 1 /f",
    'reg add "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion" /v Name /t REG_SZ /d "two words" /f',
    "powershell.exe -NoProfile -ExecutionPolicy Bypass -File C:\\wfp-hil\\setup\\first-logon.ps1",
    'cmd /c "(for %d in (C D) do if exist %d:\\setup\\a.json xcopy %d:\\setup C:\\wfp-hil\\s /e /i /y) & exit /b 0"',
]


@pytest.mark.parametrize("command", GOOD)
def test_good_commands_pass(command):
    assert check_command(command, scripts=frozenset({"first-logon.ps1"})) == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("cmd /c echo wfp-hil: stage caf\u00e9>COM1", "plain ASCII"),
        ("cmd /c echo wfp-hil: stage x1>COM1", "no digit before the '>'"),
        ("cmd /c echo wfp-hil: stage specialize>COM2", "no stage line"),
        ("cmd /c echo wfp-hil: stage specialize>COM1", "does not end with 'exit /b 0'"),
        ('cmd /c "(for %d in (C D) do if exist %d:\\a copy %d:\\b C:\\c) & exit /b 0"', "copy without /y"),
        ("echo wfp-hil: stage specialize>COM1", "not among the programs"),
        ("del C:\\file", "not among the programs"),
        ("reg add HKLM\\A /v N /t REG_DWORD /d 1", "without /f reg asks"),
        ("reg add HKXX\\A /v N /t REG_DWORD /d 1 /f", "no registry key"),
        ("reg add HKLM/A /v N /t REG_DWORD /d 1 /f", "no registry key"),
        ("reg add HKLM\\A\\\\B /v N /t REG_DWORD /d 1 /f", "no registry key"),
        ("reg add HKLM\\A /v N /t DWORD /d 1 /f", "no type of a registry value"),
        ("reg add HKLM\\A /v N /t REG_DWORD /d one /f", "is no REG_DWORD"),
        ("reg add HKLM\\A /v N /t REG_BINARY /d abc /f", "is no REG_BINARY"),
        ('reg add "HKLM\\A /v N /t REG_SZ /d x /f', "quotation mark too few"),
        ("powershell.exe -File C:\\wfp-hil\\setup\\first-logon.ps1", "is not 'powershell.exe"),
        ("powershell.exe -NoProfile -ExecutionPolicy Bypass -File D:\\first-logon.ps1", "does not lie in"),
        ("powershell.exe -NoProfile -ExecutionPolicy Bypass -File C:\\wfp-hil\\setup\\x.ps1", "no script 'x.ps1'"),
        ('cmd /c "(for %d in (C D) do if exist %d:\\a xcopy %d:\\b C:\\c /e /y)"', "xcopy without /i"),
        ('cmd /c "(for %d in (C D) do if exist %e:\\a xcopy %d:\\b C:\\c /e /i /y)"', "another variable"),
        ('cmd /c "(for %d in (C D) do if exist %d:\\a xcopy %d:\\b C:\\c /e /i /y"', "parenthesis too few"),
        ('cmd /c "(for %d in C D do if exist %d:\\a xcopy %d:\\b C:\\c /e /i /y)"', "is not 'for %d in"),
    ],
)
def test_wrong_commands_are_named(command, problem):
    problems = check_command(command, scripts=frozenset({"first-logon.ps1"}))

    assert any(problem in said for said in problems), problems
