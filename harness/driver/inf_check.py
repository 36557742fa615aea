"""Holds an INF against what Windows asks of a primitive callout driver; each rule has its source in `data`.

This is not InfVerif: it knows the rules that apply to one kernel driver without a device.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files

from harness.driver.inf import CLASS_GUID, CLASS_NAME, Entry, Inf, load_inf

_INSTALL = "DefaultInstall.NTamd64"
_SERVICES = _INSTALL + ".Services"
_ENTRY_POINTS = {"version", "strings", "sourcedisksnames", "sourcedisksfiles", "destinationdirs"}
_ARCHITECTURES = ("ntamd64", "ntx86", "ntarm", "ntarm64", "ntia64")
_SECTION_DIRECTIVES = ("copyfiles", "addreg", "delreg", "delfiles", "renfiles", "bitreg", "addproperty")
_LEGACY = {
    "delfiles", "renfiles", "delreg", "bitreg", "delservice", "registerdlls", "unregisterdlls", "profileitems",
    "logconfig", "updateinis", "updateinifields", "ini2reg",
}  # fmt: skip
_SERVICE_SECTIONS = ("addreg", "delreg", "bitreg")
_STARTS = {"0": "boot", "1": "system", "2": "automatic", "3": "demand"}


@cache
def load_inf_rules() -> dict[str, dict[str, str | int]]:
    """The rules by name: text, source and, where InfVerif has one, its code."""
    return tomllib.loads((files("harness.driver.data") / "inf_rules.toml").read_text(encoding="utf-8"))


def check_inf(content: str | bytes) -> list[str]:
    """What is wrong with an INF, a sentence each, with the name of the rule; nothing when all rules hold."""
    inf = load_inf(content)
    found = [f"{text} [{rule}]" for rule, check in _CHECKS.items() for text in check(inf)]
    return [*(f"{text} [encoding]" for text in _encoding(content)), *found]


def copied_files(inf: Inf) -> list[str]:
    """The names of the files that the install section copies."""
    names: list[str] = []
    for value in inf.values(_INSTALL, "CopyFiles"):
        if value.startswith("@"):
            names.append(value[1:])
        else:
            names += [inf.expand(entry.values[0]) for entry in inf.entries(value)]
    return names


def find_service(inf: Inf) -> tuple[str, str] | None:
    """The service that the INF adds and the section that describes it."""
    values = inf.values(_SERVICES, "AddService")
    return (values[0], values[2]) if len(values) >= 3 else None


def _encoding(content: str | bytes) -> Iterator[str]:
    is_ascii = content.isascii() if isinstance(content, bytes) else content.lstrip("\ufeff").isascii()
    if not is_ascii and not (isinstance(content, bytes) and content.startswith(b"\xff\xfe")):
        yield "It has letters beyond ASCII and is not UTF-16 LE: InfVerif takes no UTF-8."


def _syntax(inf: Inf) -> Iterator[str]:
    yield from inf.problems


def _signature(inf: Inf) -> Iterator[str]:
    seen = inf.value("Version", "Signature")
    if seen.lower() != "$windows nt$":
        yield f"Signature is '{seen}', wanted '$Windows NT$'."


def _version_complete(inf: Inf) -> Iterator[str]:
    for key in ("Provider", "Class", "ClassGuid", "DriverVer"):
        if not inf.value("Version", key):
            yield f"[Version] has no {key}."


def _class(inf: Inf) -> Iterator[str]:
    seen = (inf.value("Version", "Class"), inf.value("Version", "ClassGuid"))
    if (seen[0].upper(), seen[1].upper()) != (CLASS_NAME, CLASS_GUID.upper()):
        yield f"The class is '{seen[0]}' {seen[1]}, wanted '{CLASS_NAME}' {CLASS_GUID}."


def _provider(inf: Inf) -> Iterator[str]:
    seen = inf.value("Version", "Provider")
    if seen.strip().lower() == "microsoft":
        yield f"The provider is '{seen}', which InfVerif keeps for Microsoft."


def _driver_version(inf: Inf) -> Iterator[str]:
    values = inf.values("Version", "DriverVer")
    if not values:
        return  # said by version-complete
    text = ",".join(values)
    match = re.fullmatch(r"(\d\d)[/-](\d\d)[/-](\d{4}),\s*(\d+(?:\.\d+){0,3})", text)
    if match is None:
        yield f"DriverVer is '{text}', wanted mm/dd/yyyy,w.x.y.z."
        return
    month, day, year, version = match.groups()
    try:
        dt.date(int(year), int(month), int(day))
    except ValueError:
        yield f"DriverVer has the date {month}/{day}/{year}, which does not exist."
    if any(int(part) >= 65535 for part in version.split(".")):
        yield f"DriverVer has the version {version}, of which a number is not below 65535."


def _catalog(inf: Inf) -> Iterator[str]:
    version = inf.entries("Version")
    named = [entry for entry in version if entry.key.lower() in {"catalogfile", "catalogfile.ntamd64"}]
    if not named:
        yield "[Version] names no CatalogFile, so the package cannot be signed."
    for entry in named:
        name = inf.expand(entry.values[0])
        if not re.fullmatch(r"[^\\/:]+\.cat", name, re.IGNORECASE):
            yield f"CatalogFile is '{name}', wanted the name of a .cat file beside the INF."


def _lockdown(inf: Inf) -> Iterator[str]:
    seen = inf.value("Version", "PnpLockdown")
    if seen != "1":
        yield f"PnpLockdown is '{seen}', wanted 1."


def _no_devices(inf: Inf) -> Iterator[str]:
    if "manufacturer" in inf.sections:
        yield "It has [Manufacturer]: a callout driver has no device, and both kinds in one INF are refused."


def _decorated(inf: Inf) -> Iterator[str]:
    if _INSTALL.lower() not in inf.sections:
        yield f"It has no [{_INSTALL}]."
    for name, written in inf.names.items():
        words = name.split(".")
        bare = len(words) == 1 or words[1] not in _ARCHITECTURES
        if words[0] in {"defaultinstall", "defaultuninstall"} and bare:
            yield f"[{written}] does not name the architecture, as in [{_INSTALL}]."


def _no_uninstall(inf: Inf) -> Iterator[str]:
    for name, written in inf.names.items():
        words = name.split(".")
        if words[0] == "defaultuninstall" and words[-1] != "services" and inf.value(name, "LegacyUninstall") != "1":
            yield f"[{written}] is there without LegacyUninstall = 1: Windows uninstalls a primitive driver by itself."


def _driver_store(inf: Inf) -> Iterator[str]:
    for section in inf.values(_INSTALL, "CopyFiles"):
        where = inf.value("DestinationDirs", section.lstrip("@")) or inf.value("DestinationDirs", "DefaultDestDir")
        if where != "13":
            yield f"The files of '{section}' go to DIRID '{where}', wanted 13."


def _same_name(inf: Inf) -> Iterator[str]:
    for section in inf.values(_INSTALL, "CopyFiles"):
        place = inf.values("DestinationDirs", section) or inf.values("DestinationDirs", "DefaultDestDir")
        folder = place[1] if len(place) > 1 else ""
        for entry in inf.entries(section):
            if len(entry.values) > 1 and entry.values[1] and entry.values[1] != entry.values[0]:
                yield f"'{entry.values[1]}' is renamed to '{entry.values[0]}' while it is copied."
            source = _source_folder(inf, entry.values[0])
            if source is not None and source.lower() != folder.lower():
                yield f"'{entry.values[0]}' comes from folder '{source}' and goes to folder '{folder}'."


def _listed(inf: Inf) -> Iterator[str]:
    disks = {entry.key for section in _with_architecture(inf, "SourceDisksNames") for entry in inf.entries(section)}
    for name in copied_files(inf):
        entry = _source(inf, name)
        if entry is None:
            yield f"'{name}' is copied and does not stand in [SourceDisksFiles]."
        elif entry.values[0] not in disks:
            yield f"'{name}' is on disk '{entry.values[0]}', which [SourceDisksNames] does not have."
    if not copied_files(inf):
        yield f"[{_INSTALL}] copies no file."


def _references(inf: Inf) -> Iterator[tuple[str, str]]:
    """(where, section) for every section that a directive names."""
    for name in inf.names:
        words = name.split(".")
        if words[0] not in {"defaultinstall", "defaultuninstall"}:
            continue
        for entry in inf.entries(name):
            key = entry.key.lower()
            if key in _SECTION_DIRECTIVES:
                for value in entry.values:
                    if value and not value.startswith("@"):
                        yield f"{entry.key} of [{inf.names[name]}]", inf.expand(value)
            elif key == "addservice" and len(entry.values) >= 3:
                yield f"AddService of [{inf.names[name]}]", inf.expand(entry.values[2])
                for inner in inf.entries(entry.values[2]):
                    if inner.key.lower() in _SERVICE_SECTIONS:
                        for value in inner.values:
                            yield f"{inner.key} of [{entry.values[2]}]", inf.expand(value)


def _sections_exist(inf: Inf) -> Iterator[str]:
    for where, section in _references(inf):
        if section.lower() not in inf.sections:
            yield f"{where} names [{section}], which does not exist; a file's name begins with '@'."


def _sections_used(inf: Inf) -> Iterator[str]:
    used = {section.lower() for _, section in _references(inf)}
    for name, written in inf.names.items():
        first = name.split(".")[0]
        if name not in used and first not in {*_ENTRY_POINTS, "defaultinstall", "defaultuninstall", "manufacturer"}:
            yield f"[{written}] is not used."


def _strings(inf: Inf) -> Iterator[str]:
    defined = {entry.key.lower() for entry in inf.entries("Strings")}
    for section, entries in inf.sections.items():
        for entry in entries if section != "strings" else ():
            text = ",".join((entry.key, *entry.values)).replace("%%", "")
            for token in re.findall(r"%([^%]*)%", text):
                if token.lower() not in defined and not token.isdigit():
                    yield f"Line {entry.line} uses %{token}%, which [Strings] does not define."


def _services(inf: Inf) -> Iterator[str]:
    if find_service(inf) is None:
        yield f"[{_SERVICES}] has no 'AddService = name,flags,section'."


def _service_complete(inf: Inf) -> Iterator[str]:
    service = find_service(inf)
    if service is None:
        return
    wanted = {
        "ServiceType": r"1|0x0*1",
        "StartType": r"[0-3]|0x0*[0-3]",
        "ErrorControl": r"[0-3]|0x0*[0-3]",
        "ServiceBinary": ".+",
    }
    for key, pattern in wanted.items():
        seen = inf.value(service[1], key)
        if not re.fullmatch(pattern, seen):
            yield f"The service '{service[0]}' has {key} = '{seen}', which is not right for a kernel driver."


def _service_binary(inf: Inf) -> Iterator[str]:
    service = find_service(inf)
    binary = inf.value(service[1], "ServiceBinary") if service else ""
    if binary and binary.lower() not in {f"%13%\\{name.lower()}" for name in copied_files(inf)}:
        yield f"ServiceBinary is '{binary}', wanted %13%\\ and a file that is copied."


def _start_order(inf: Inf) -> Iterator[str]:
    service = find_service(inf)
    if service is None:
        return
    start = _STARTS.get(inf.value(service[1], "StartType").lower().replace("0x", "").lstrip("0") or "0", "")
    needs = {value.lower() for value in inf.values(service[1], "Dependencies")}
    if start == "automatic":
        yield "StartType is 2, which the service manager has for programs; a driver takes 0, 1 or 3."
    if start not in {"boot", "system"}:
        return
    if not inf.value(service[1], "LoadOrderGroup"):
        yield f"It starts at {start} and names no LoadOrderGroup: it may come before TCP/IP."
    if "bfe" in needs:
        yield f"It starts at {start} and depends on BFE, which is a program that starts later."
    if "tcpip" not in needs:
        yield f"It starts at {start} and does not depend on TCPIP."


def _no_legacy(inf: Inf) -> Iterator[str]:
    for section, entries in inf.sections.items():
        words = section.split(".")
        if words[0] == "defaultuninstall":
            continue  # ignored by Windows that knows primitive drivers, which no-uninstall sees to
        if "coinstallers" in words:
            yield f"[{inf.names[section]}] brings a co-installer, which Windows no longer runs."
        for entry in entries:
            if entry.key.lower() in _LEGACY and words[0] != "strings":
                yield f"Line {entry.line} has {entry.key}, which changes what is not the package's own."


def _relative_keys(inf: Inf) -> Iterator[str]:
    tables = {section.lower() for where, section in _references(inf) if where.lower().startswith("addreg")}
    for table in sorted(tables):
        for entry in inf.entries(table):
            if entry.values[0].upper() != "HKR":
                yield f"Line {entry.line} writes below {entry.values[0]}, wanted HKR."


def _with_architecture(inf: Inf, section: str) -> list[str]:
    return [name for name in (section.lower(), f"{section.lower()}.amd64") if name in inf.sections]


def _source(inf: Inf, name: str) -> Entry | None:
    for section in reversed(_with_architecture(inf, "SourceDisksFiles")):
        for entry in inf.entries(section):
            if entry.key.lower() == name.lower():
                return entry
    return None


def _source_folder(inf: Inf, name: str) -> str | None:
    entry = _source(inf, name)
    return None if entry is None else entry.values[1] if len(entry.values) > 1 else ""


_CHECKS: dict[str, Callable[[Inf], Iterator[str]]] = {
    "syntax": _syntax,
    "signature": _signature,
    "version-complete": _version_complete,
    "class": _class,
    "provider": _provider,
    "driver-version": _driver_version,
    "catalog": _catalog,
    "lockdown": _lockdown,
    "no-devices": _no_devices,
    "decorated": _decorated,
    "no-uninstall": _no_uninstall,
    "driver-store": _driver_store,
    "same-name": _same_name,
    "listed": _listed,
    "sections-exist": _sections_exist,
    "sections-used": _sections_used,
    "strings": _strings,
    "services": _services,
    "service-complete": _service_complete,
    "service-binary": _service_binary,
    "start-order": _start_order,
    "no-legacy": _no_legacy,
    "relative-keys": _relative_keys,
}
