"""The INF of a callout driver: made for a package, and read; what is asked of it is in `inf_check`."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from harness.errors import DriverPackageError

CLASS_NAME = "WFPCALLOUTS"
CLASS_GUID = "{57465043-616C-6C6F-7574-5F636C617373}"


class StartType(IntEnum):
    """When Windows starts a kernel driver."""

    BOOT = 0
    SYSTEM = 1
    DEMAND = 3


# A callout driver that starts with Windows comes right after TCP/IP; on demand the filter engine's service is up, whose
# group it shares. Kernel drivers that start at boot cannot depend on a program such as BFE.
_ORDER = {
    StartType.BOOT: ("NDIS", "TCPIP"),
    StartType.SYSTEM: ("NDIS", "TCPIP"),
    StartType.DEMAND: ("NetworkProvider", "BFE"),
}

_TEMPLATE = """\
; {note}
[Version]
Signature   = "$WINDOWS NT$"
Class       = {class_name}
ClassGuid   = {class_guid}
Provider    = %Provider%
CatalogFile = {stem}.cat
DriverVer   = {date:%m/%d/%Y},{version}
PnpLockdown = 1

[DestinationDirs]
DefaultDestDir = 13

[SourceDisksNames]
1 = %Disk%

[SourceDisksFiles]
{file} = 1

[DefaultInstall.NTamd64]
OptionDesc = %Description%
CopyFiles  = Files

[DefaultInstall.NTamd64.Services]
AddService = {service},,Service

[Files]
{file}

[Service]
DisplayName    = %Description%
ServiceType    = 1 ; SERVICE_KERNEL_DRIVER
StartType      = {start:d} ; SERVICE_{start_name}_START
ErrorControl   = 1 ; SERVICE_ERROR_NORMAL
ServiceBinary  = %13%\\{file}
LoadOrderGroup = {group}
Dependencies   = {needs}
Security       = "D:P(A;;GA;;;SY)(A;;GA;;;BA)" ; who may start and stop it: SYSTEM and administrators

[Strings]
Provider    = "{provider}"
Disk        = "{description}"
Description = "{description}"
"""


def render_inf(
    file: str,
    *,
    service: str,
    provider: str,
    description: str,
    version: str,
    date: dt.date,
    start: StartType = StartType.DEMAND,
    note: str = "Made by wfp-hil: installs one kernel driver as a primitive driver (Windows 10 1903 and later).",
) -> str:
    """The INF of a package with one driver file; lines end with CR LF.

    Raises DriverPackageError for a name that cannot stand in an INF.
    """
    for what, text in {"file": file, "service": service}.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
            raise DriverPackageError(
                f"The {what} name '{text}' cannot stand in an INF without quotes.",
                hint="Use letters, digits, '_', '-' and '.' only.",
            )
    for what, text in {"provider": provider, "description": description, "note": note}.items():
        if '"' in text or "%" in text or not text.isascii() or not text.isprintable():
            raise DriverPackageError(f"The {what} '{text}' cannot stand in an INF.", hint='Use ASCII without " and %.')
    group, needs = _ORDER[start]
    text = _TEMPLATE.format(
        note=note,
        class_name=CLASS_NAME,
        class_guid=CLASS_GUID,
        stem=file.rpartition(".")[0] or file,
        date=date,
        version=version,
        file=file,
        service=service,
        start=start,
        start_name=start.name,
        group=group,
        needs=needs,
        provider=provider,
        description=description,
    )
    return text.replace("\n", "\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a section: `key` is empty where there is no equals sign; strings are not yet put in."""

    line: int
    key: str
    values: tuple[str, ...]


@dataclass(slots=True)
class Inf:
    """An INF as sections, names in lower case; `problems` holds the lines that could not be read."""

    sections: dict[str, list[Entry]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def entries(self, section: str) -> list[Entry]:
        """The entries of a section; none where it does not exist."""
        return self.sections.get(section.lower(), [])

    def values(self, section: str, key: str) -> tuple[str, ...]:
        """What stands behind a key, with strings put in; empty where there is none."""
        for entry in self.entries(section):
            if entry.key.lower() == key.lower():
                return tuple(self.expand(value) for value in entry.values)
        return ()

    def value(self, section: str, key: str) -> str:
        """The first value behind a key, or nothing."""
        return next(iter(self.values(section, key)), "")

    def expand(self, text: str) -> str:
        """Put in the strings; what is not defined stays, as do directory numbers such as %13%."""
        strings = {entry.key.lower(): ",".join(entry.values) for entry in self.entries("Strings")}
        return re.sub(r"%([^%]+)%", lambda found: strings.get(found[1].lower(), found[0]), text)


def load_inf(content: str | bytes) -> Inf:
    """Read an INF; what is wrong with it is collected, not raised."""
    inf = Inf()
    current: list[Entry] | None = None
    for number, line in _lines(_decode(content)):
        if line.startswith("["):
            name = line[1:-1].strip()
            if not line.endswith("]") or not name:
                inf.problems.append(f"Line {number} begins a section and does not end it: '{line}'.")
                continue
            current = inf.sections.setdefault(name.lower(), [])
            inf.names.setdefault(name.lower(), name)
        elif current is None:
            inf.problems.append(f"Line {number} stands in no section: '{line}'.")
        else:
            key, equals, rest = _split_outside_quotes(line, "=")
            if not equals:
                key, rest = "", line
            current.append(Entry(line=number, key=_unquote(key), values=tuple(_values(rest))))
    return inf


def _decode(content: str | bytes) -> str:
    if isinstance(content, str):
        return content
    if content.startswith(b"\xff\xfe"):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments, continued ones joined."""
    held = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = (held + _split_outside_quotes(raw, ";")[0]).strip()
        held = ""
        if line.endswith("\\") and not line.endswith('"'):
            held = line[:-1]
        elif line:
            yield number, line


def _split_outside_quotes(text: str, mark: str) -> tuple[str, str, str]:
    inside = False
    for place, letter in enumerate(text):
        if letter == '"':
            inside = not inside
        elif letter == mark and not inside:
            return text[:place], mark, text[place + 1 :]
    return text, "", ""


def _values(text: str) -> Iterator[str]:
    more = ","
    while more:
        value, more, text = _split_outside_quotes(text, ",")
        yield _unquote(value)


def _unquote(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text
