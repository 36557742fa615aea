"""A Windows guest that knows a script: which commands come, and what each prints.

Answers marked FORM are in the form that documentation and public recordings show; none was recorded by this project,
which had no Windows. docs/windows.md lists what to look at on the first real one.
"""

from __future__ import annotations

import re

from harness.guest.transport import CommandResult
from harness.guest.windows import WindowsGuest


class ScriptedWindows:
    """Answers each command with what `says` holds for it: (exit code, output), or a list of them, used up one by one.

    A key is the beginning of a command. A command that nothing is said for fails the test.
    """

    kind = WindowsGuest()

    def __init__(self, says=None):
        self.says = dict(says or {})
        self.commands = []
        self.uploads = []
        self.files = {}
        self.boot_ids = ["boot-1"]

    def run(self, command, *, deadline=None, skip_cmd_shell=False):
        self.commands.append(command)
        keys = [key for key in self.says if command.startswith(key)]
        assert keys, f"nobody said what '{command}' answers"
        key = max(keys, key=len)
        answer = self.says[key]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        code, text = answer if isinstance(answer, tuple) else (0, answer)
        return CommandResult(
            command=command, exit_code=code, stdout=text.replace("\n", "\r\n"), stderr="", duration=0.0
        )

    def upload(self, local, remote):
        self.uploads.append((local.name, remote))
        return "0" * 64

    def read(self, remote):
        content = self.files[remote]
        if isinstance(content, list):
            return content.pop(0) if len(content) > 1 else content[0]
        return content

    def boot_id(self, *, deadline=None):
        value = self.boot_ids.pop(0) if len(self.boot_ids) > 1 else self.boot_ids[0]
        if isinstance(value, Exception):
            raise value
        return value

    def abandon(self):
        self.commands.append("(connections let go)")

    def commands_of(self, program):
        return [command for command in self.commands if re.match(rf"{program}(\.exe)?\b", command)]


def registry(key, name, kind, value):
    """FORM of reg.exe query: https://learn.microsoft.com/en-us/windows-server/administration/windows-commands/reg-query."""
    return f"\n{key}\n    {name}    {kind}    {value}\n\n"
