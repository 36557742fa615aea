"""The few commands of an answer file that mean something here; all others are told as skipped.

    echo wfp-hil: stage NAME>COM1                     is said on COM1
    reg add HKLM\\SYSTEM\\Setup\\LabConfig /v NAME ...    is remembered: it waives checks of Setup
    for %d in (C D ...) do if exist %d:\\FILE xcopy %d:\\FOLDER TARGET ...
                                                      copies the folder from the first medium that has the file
    for %d in (C D ...) do if exist %d:\\FILE copy /y %d:\\OTHER C:\\TARGET
                                                      copies a file from there
    exit /b 0                                         whatever happened before is no failure
    powershell ... -File C:\\FOLDER\\NAME.ps1            the script has to be there; the stages that it writes are said,
                                                      and whether it reboots is remembered

Several may stand behind `cmd /c "`, with ` & ` in between.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from console import Console, Refused
from media import find

_CMD = re.compile(r"cmd(?:\.exe)?\s+/c\s+(?P<rest>.+)", re.IGNORECASE)
_ECHO = re.compile(r"echo\s+(?P<text>.*?)\s*>\s*COM1:?", re.IGNORECASE)
_LAB = re.compile(r'reg(?:\.exe)?\s+add\s+"?HKLM\\SYSTEM\\Setup\\LabConfig"?\s+(?P<rest>.*)', re.IGNORECASE)
_VALUE = re.compile(r"/v\s+(?P<name>\w+)", re.IGNORECASE)
_COPY = re.compile(
    r"\(?for %(\w) in \([^)]*\) do if exist %\1:\\(?P<file>\S+) "
    r"xcopy %\1:\\(?P<folder>\S+) C:\\(?P<target>\S+)(?: /\w)*\)?",
    re.IGNORECASE,
)
_COPY_FILE = re.compile(
    r"\(?for %(\w) in \([^)]*\) do if exist %\1:\\(?P<file>\S+) copy /y %\1:\\(?P<other>\S+) C:\\(?P<target>\S+?)\)?",
    re.IGNORECASE,
)
_EXIT = re.compile(r"exit /b 0", re.IGNORECASE)
_SCRIPT = re.compile(r"powershell(?:\.exe)?\s.*-File\s+\"?C:\\(?P<path>[^\"\s]+\.ps1)\"?.*", re.IGNORECASE)
# In the lines of a script: a stage that it writes, scripts of its folder that it calls, a reboot.
_STAGE = re.compile(
    r"\s*(?:Write|Invoke)-Stage\s+(?:-Name\s+)?(?P<quote>['\"]?)(?P<stage>[a-z][a-z0-9-]*)(?P=quote)", re.IGNORECASE
)
_CALL = re.compile(r"[&.]\s*\(Join-Path\s+(?:-Path\s+)?\$PSScriptRoot[^)]*?['\"]([\w-]+\.ps1)['\"]", re.IGNORECASE)
_REBOOT = re.compile(r"[^#]*\b(?:shutdown(?:\.exe)?\b.*/r\b|Restart-Computer)", re.IGNORECASE)


@dataclass
class Interpreter:
    """Runs commands; keeps what was waived and what was skipped. `drive` is C:, None while there is none."""

    console: Console
    roots: list[Path]
    drive: Path | None = None
    reboots: bool = False
    waived: set[str] = field(default_factory=set)
    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def run(self, line: str) -> None:
        """Run one command line. Raises Refused when it names a script or a folder that is not there."""
        inner = _CMD.fullmatch(line)
        rest = inner.group("rest") if inner else line
        # cmd takes the outermost quotation marks off.
        if inner and rest.startswith('"') and rest.endswith('"'):
            rest = rest[1:-1]
        for part in rest.split(" & ") if inner else [rest]:
            known = self._run_one(part.strip(), in_cmd=inner is not None)
            (self.ran if known else self.skipped).append(part.strip())
            if not known:
                self.console.show(f"skipped: {part}")

    def _run_one(self, command: str, *, in_cmd: bool) -> bool:
        if in_cmd and (found := _ECHO.fullmatch(command)):
            self.console.com1(found.group("text"))
        elif found := _LAB.fullmatch(command):
            self.waived |= {name.group("name").lower() for name in _VALUE.finditer(found.group("rest"))}
        elif in_cmd and self.drive and (found := _COPY.fullmatch(command)):
            self._copy(found.group("file"), found.group("folder"), found.group("target"))
        elif in_cmd and self.drive and (found := _COPY_FILE.fullmatch(command)):
            self._copy_file(found.group("file"), found.group("other"), found.group("target"))
        elif self.drive and (found := _SCRIPT.fullmatch(command)):
            self.play(self.drive.joinpath(*found.group("path").split("\\")))
        else:
            return in_cmd and _EXIT.fullmatch(command) is not None
        return True

    def _copy(self, file: str, folder: str, target: str) -> None:
        assert self.drive is not None
        for root in self.roots:
            path = find(root, *file.split("\\"))
            if path is None:
                continue
            source = root.joinpath(*folder.split("\\"))
            if not source.is_dir():
                raise Refused(f"the medium with '{file}' has no folder '{folder}'")
            place = self.drive.joinpath(*target.split("\\"))
            shutil.copytree(source, place, dirs_exist_ok=True, copy_function=shutil.copyfile)
            return
        # As on Windows: `if exist` is content when nothing is there.
        self.console.show(f"no medium has '{file}'")

    def _copy_file(self, file: str, other: str, target: str) -> None:
        assert self.drive is not None
        for root in self.roots:
            if find(root, *file.split("\\")) is None:
                continue
            if (source := find(root, *other.split("\\"))) is not None:
                shutil.copyfile(source, self.drive.joinpath(*target.split("\\")))
                return
        self.console.show(f"no medium has '{file}' and '{other}'")

    def play(self, script: Path) -> None:
        """Say the stages of a PowerShell script and of those that it calls. Raises Refused where there is none."""
        if not script.is_file():
            raise Refused(f"there is no script '{script.name}' in '{script.parent.name}'")
        self.console.show(f"plays {script.name}")
        for line in script.read_text(encoding="utf-8-sig").splitlines():
            if stage := _STAGE.match(line):
                self.console.com1(f"wfp-hil: stage {stage.group('stage')}")
            for name in _CALL.findall(line):
                if name.lower() != "report.ps1":
                    self.play(script.with_name(name))
            self.reboots |= _REBOOT.match(line) is not None
