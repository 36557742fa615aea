"""Commands in an answer file: what would fail without a word during Setup is found here, as far as it can be read."""

from __future__ import annotations

import re

from harness.unattend.plan import SETUP_FOLDER

# https://learn.microsoft.com/en-us/windows-server/administration/windows-commands/reg-add
_REGISTRY_TYPES = {
    "REG_SZ": r".*",
    "REG_EXPAND_SZ": r".*",
    "REG_MULTI_SZ": r".*",
    "REG_DWORD": r"\d{1,10}|0x[0-9a-fA-F]{1,8}",
    "REG_QWORD": r"\d{1,20}|0x[0-9a-fA-F]{1,16}",
    "REG_BINARY": r"(?:[0-9a-fA-F]{2})*",
}
_REG_ADD = re.compile(
    r"reg add (?P<key>\"[^\"]+\"|\S+) /v (?P<name>\S+) /t (?P<type>\w+) /d (?P<data>\"[^\"]*\"|\S+) /f", re.IGNORECASE
)
_KEY = re.compile(r"HK(?:LM|CU|U|CR|CC)(?:\\[^\\\"/]+)+")
_ECHO = re.compile(r"echo wfp-hil: stage (?P<stage>[a-z0-9][a-z0-9-]*[a-z])>COM1")
_POWERSHELL = re.compile(r"powershell\.exe -NoProfile -ExecutionPolicy Bypass -File (?P<file>\S+)")
_FOR = re.compile(
    r"\(?for %(?P<variable>[a-z]) in \((?P<letters>[C-Z](?: [C-Z])*)\) do (?P<body>.+?)\)?", re.IGNORECASE
)
_IF_COPY = re.compile(
    r"if exist %(?P<a>[a-z]):\\\S+ "
    r"(?:xcopy %(?P<b>[a-z]):\\\S+ [A-Z]:\\\S+(?P<xcopy>(?: /[a-z])+)"
    r"|copy(?P<copy>(?: /[a-z])*) %(?P<c>[a-z]):\\\S+ [A-Z]:\\\S+)"
)
_NO_FAILURE = "exit /b 0"


def check_command(command: str, *, scripts: frozenset[str] | None = None) -> list[str]:
    """Problems of one command as whole sentences; `scripts` are the names that a script may have."""
    if not command.isascii() or any(ord(character) < 0x20 for character in command):
        return [f"The command '{command}' has characters that are not plain ASCII."]
    if command.count('"') % 2:
        return [f"The command '{command}' has a quotation mark too few."]
    inner = re.fullmatch(r"cmd(?:\.exe)? /c (?P<rest>.+)", command)
    if inner is None:
        return _check_one(command, scripts, in_shell=False)
    rest = inner["rest"]
    # cmd takes the outermost quotation marks off when there is more than one word in them.
    if rest.startswith('"') and rest.endswith('"'):
        rest = rest[1:-1]
    *parts, last = (part.strip() for part in rest.split(" & "))
    problems = [problem for part in parts for problem in _check_one(part, scripts, in_shell=True)]
    if last == _NO_FAILURE:
        return problems
    if not last.startswith("powershell.exe"):
        problems.append(f"'{command}' does not end with '{_NO_FAILURE}': where it fails, so does Setup.")
    return problems + _check_one(last, scripts, in_shell=True)


def _check_one(command: str, scripts: frozenset[str] | None, *, in_shell: bool) -> list[str]:
    program = command.lstrip("(").partition(" ")[0].lower()
    if program == "reg":
        return _check_reg(command)
    if program == "powershell.exe":
        return _check_powershell(command, scripts)
    if in_shell and program == "echo":
        if _ECHO.fullmatch(command):
            return []
        return [
            f"'{command}' is no stage line for COM1: wanted 'echo wfp-hil: stage NAME>COM1', no digit before the '>'."
        ]
    if in_shell and program == "for":
        return _check_for(command)
    return [f"The command '{command}' starts '{program}', which is not among the programs that are known here."]


def _check_reg(command: str) -> list[str]:
    found = _REG_ADD.fullmatch(command)
    if found is None:
        return [f"'{command}' is not 'reg add KEY /v NAME /t TYPE /d DATA /f'; without /f reg asks and waits."]
    problems = []
    key = found["key"].strip('"')
    if not _KEY.fullmatch(key):
        problems.append(f"'{key}' is no registry key: wanted a hive as HKLM and single backslashes.")
    if " " in key and not found["key"].startswith('"'):
        problems.append(f"The registry key '{key}' has a space and no quotation marks.")
    allowed = _REGISTRY_TYPES.get(found["type"].upper())
    if allowed is None:
        problems.append(
            f"'{found['type']}' is no type of a registry value, wanted one of {', '.join(_REGISTRY_TYPES)}."
        )
    elif not re.fullmatch(allowed, found["data"].strip('"')):
        problems.append(f"'{found['data']}' is no {found['type'].upper()}, in '{command}'.")
    return problems


def _check_powershell(command: str, scripts: frozenset[str] | None) -> list[str]:
    found = _POWERSHELL.fullmatch(command)
    if found is None:
        return [f"'{command}' is not 'powershell.exe -NoProfile -ExecutionPolicy Bypass -File SCRIPT'."]
    folder, _, name = found["file"].rpartition("\\")
    if folder.lower() != SETUP_FOLDER.lower():
        return [f"'{found['file']}' does not lie in '{SETUP_FOLDER}', where the scripts are copied to."]
    if scripts is not None and name not in scripts:
        return [f"There is no script '{name}' on the CD."]
    return []


def _check_for(command: str) -> list[str]:
    if command.startswith("(") != command.endswith(")"):
        return [f"'{command}' has a parenthesis too few."]
    loop = _FOR.fullmatch(command)
    body = _IF_COPY.fullmatch(loop["body"]) if loop else None
    if loop is None or body is None:
        return [f"'{command}' is not 'for %d in (LETTERS) do if exist %d:\\FILE xcopy %d:\\FOLDER TARGET FLAGS'."]
    if {body["a"], body["b"] or body["c"]} != {loop["variable"]}:
        return [f"'{command}' uses another variable than its own, %{loop['variable']}."]
    # Without /i xcopy asks whether the target is a file or a folder, without /y both ask whether to overwrite.
    program, wanted = ("xcopy", {"/i", "/y"}) if body["xcopy"] else ("copy", {"/y"})
    missing = wanted - set((body["xcopy"] or body["copy"]).split())
    return [f"{program} without {flag} asks a question, in '{command}'." for flag in sorted(missing)]
