"""Holds an answer file against what this project keeps of Microsoft's schema, and against itself."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from lxml import etree

from harness.config.directories import profiles_root
from harness.unattend.answer import NAMESPACE, WCM
from harness.unattend.commands import check_command
from harness.unattend.passwords import decode_password

# https://learn.microsoft.com/en-us/windows-hardware/manufacture/desktop/windows-setup-configuration-passes
PASSES = ("windowsPE", "offlineServicing", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem")
_IDENTITY = {"publicKeyToken": "31bf3856ad364e35", "language": "neutral", "versionScope": "nonSxS"}
_ACTION, _KEY_VALUE = f"{{{WCM}}}action", f"{{{WCM}}}keyValue"
_SECTIONS = ("section", "list", "password")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a component: what its element may hold."""

    component: str
    path: str
    type: str
    source: str
    read: bool = False
    passes: tuple[str, ...] = ()
    required: bool = False
    empty: bool = False
    keyed: bool = False
    ordered: bool = False
    values: tuple[str, ...] = ()
    pattern: str = ".*"
    minimum: int | None = None
    maximum: int | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Components by name with their passes, and settings by component and path."""

    components: dict[str, tuple[str, ...]]
    sources: dict[str, str]
    settings: dict[tuple[str, str], Setting]

    def children(self, component: str, path: str) -> Iterator[Setting]:
        """Settings right below a path; the path '' is the component itself."""
        for setting in self.settings.values():
            if setting.component == component and setting.path.rpartition("/")[0] == path:
                yield setting


@cache
def load_schema() -> Schema:
    """What `vm-images/windows/unattend-schema.toml` says."""
    text = (profiles_root() / "windows" / "unattend-schema.toml").read_text(encoding="utf-8")
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(text)
    settings = [_setting(row) for row in table["setting"]]
    return Schema(
        components={row["name"]: tuple(row["passes"]) for row in table["component"]},
        sources={row["name"]: row["source"] for row in table["component"]},
        settings={(setting.component, setting.path): setting for setting in settings},
    )


def _setting(row: dict[str, Any]) -> Setting:
    kept: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Setting(**kept)


def check_answer(xml: bytes, *, scripts: frozenset[str] | None = None) -> list[str]:
    """What Setup would reject or stop at, as whole sentences; none when the file is good.

    `scripts` are the names of the scripts that lie on the CD, where that is to be checked, too.
    """
    try:
        root = etree.fromstring(xml)
    except etree.XMLSyntaxError as error:
        return [f"The answer file is not XML: {error}."]
    if root.tag != f"{{{NAMESPACE}}}unattend":
        return [f"The root of the answer file is '{root.tag!s}', wanted 'unattend' of '{NAMESPACE}'."]
    check = _Check(scripts)
    check.root(root)
    return check.problems


class _Check:
    def __init__(self, scripts: frozenset[str] | None) -> None:
        self.problems: list[str] = []
        self._schema = load_schema()
        self._scripts = scripts
        self._pass = ""
        self._component = ""

    def root(self, root: etree._Element) -> None:
        seen: list[str] = []
        for settings in _elements(root):
            name = settings.get("pass") or ""
            if _name(settings) != "settings" or name not in PASSES:
                self._say(f"'{_name(settings)}' with pass '{name}' is no pass of Windows Setup.")
                continue
            if name in seen:
                self._say(f"Pass '{name}' stands there twice.")
            seen.append(name)
            self._pass = name
            components = [_name(component) for component in _elements(settings)]
            if set(components) - {"component"}:
                self._say(f"Pass '{name}' holds something that is no component.")
            self._components(settings)
        self._partitions(root)

    def _components(self, settings: etree._Element) -> None:
        seen: set[str] = set()
        for component in _elements(settings):
            self._component = name = component.get("name") or ""
            passes = self._schema.components.get(name)
            if passes is None:
                self._say(f"Component '{name}' is not in the schema.")
                continue
            if self._pass not in passes:
                self._say(f"Component '{name}' does not work in pass '{self._pass}', only in {', '.join(passes)}.")
            if name in seen:
                self._say(f"Component '{name}' stands twice in pass '{self._pass}'.")
            seen.add(name)
            for key, value in {**_IDENTITY, "processorArchitecture": "amd64"}.items():
                if component.get(key) != value:
                    self._say(f"Component '{name}' has {key} '{component.get(key)}', wanted '{value}'.")
            self._section(component, "")

    def _section(self, section: etree._Element, path: str) -> None:
        elements = list(_elements(section))
        names = [_name(element) for element in elements]
        known = {setting.path.rpartition("/")[2]: setting for setting in self._schema.children(self._component, path)}
        where = f"{self._component}/{path}".rstrip("/")
        for missing in sorted(name for name, setting in known.items() if setting.required and name not in names):
            self._say(f"'{where}' lacks '{missing}'.")
        for name in sorted(set(names)):
            setting = known.get(name)
            if setting is None:
                self._say(f"'{where}/{name}' is not in the schema.")
            elif names.count(name) > 1 and setting.type != "list":
                self._say(f"'{where}/{name}' stands there {names.count(name)} times.")
        for name, setting in known.items():
            same = [element for element in elements if _name(element) == name]
            if setting.ordered and same:
                self._order(same, f"{where}/{name}")
            for element in same:
                self._element(element, setting, f"{where}/{name}")

    def _order(self, elements: list[etree._Element], where: str) -> None:
        orders = [element.findtext(f"{{{NAMESPACE}}}Order") for element in elements]
        if orders != [str(number) for number in range(1, len(orders) + 1)]:
            self._say(f"The orders of '{where}' are {orders}, wanted 1 to {len(orders)}, each once.")

    def _element(self, element: etree._Element, setting: Setting, where: str) -> None:
        if setting.passes and self._pass not in setting.passes:
            self._say(f"'{where}' does not work in pass '{self._pass}', only in {', '.join(setting.passes)}.")
        if (element.get(_ACTION) == "add") != (setting.type == "list"):
            self._say(f"'{where}' has wcm:action '{element.get(_ACTION)}'; items of lists have 'add', others none.")
        if bool(element.get(_KEY_VALUE)) != setting.keyed:
            self._say(
                f"'{where}' has wcm:keyValue '{element.get(_KEY_VALUE)}', wanted {'one' if setting.keyed else 'none'}."
            )
        if setting.type == "password":
            self._password(element, where)
        elif setting.type in _SECTIONS:
            if (element.text or "").strip():
                self._say(f"'{where}' holds text, wanted elements.")
            self._section(element, setting.path)
        elif len(element):
            self._say(f"'{where}' holds elements, wanted text.")
        else:
            self._leaf(element.text or "", setting, where)

    def _leaf(self, text: str, setting: Setting, where: str) -> None:
        if not text:
            if not setting.empty:
                self._say(f"'{where}' is empty, at which Setup stops.")
            return
        if setting.max_length is not None and len(text) > setting.max_length:
            self._say(f"'{where}' has {len(text)} characters, allowed are {setting.max_length}.")
        if not re.fullmatch(setting.pattern, text, re.DOTALL):
            self._say(f"'{where}' is '{text}', which is not of the form {setting.pattern}.")
        match setting.type:
            case "boolean" if text not in {"true", "false"}:
                self._say(f"'{where}' is '{text}', wanted 'true' or 'false'.")
            case "choice" if text not in setting.values:
                self._say(f"'{where}' is '{text}', wanted one of {', '.join(setting.values)}.")
            case "integer":
                if not re.fullmatch(r"\d+", text):
                    self._say(f"'{where}' is '{text}', wanted a whole number.")
                elif int(text) < (setting.minimum or 0) or int(text) > (setting.maximum or int(text)):
                    self._say(f"'{where}' is {text}, wanted {setting.minimum} to {setting.maximum or 'any'}.")
            case "command":
                self.problems += [f"{where}: {problem}" for problem in check_command(text, scripts=self._scripts)]

    def _password(self, element: etree._Element, where: str) -> None:
        parts = {_name(part): part.text or "" for part in _elements(element)}
        if set(parts) != {"Value", "PlainText"}:
            self._say(f"'{where}' holds {sorted(parts)}, wanted Value and PlainText.")
        elif parts["PlainText"] != "false":
            self._say(f"'{where}' holds a password that anybody can read at a glance, wanted PlainText 'false'.")
        else:
            try:
                decode_password(parts["Value"], "AdministratorPassword" if _name(element)[0] == "A" else "Password")
            except ValueError as error:
                self._say(f"'{where}': {error}")

    def _partitions(self, root: etree._Element) -> None:
        """What a schema cannot say: the partition that Windows goes to exists and is fit for it."""
        names = {"u": NAMESPACE}
        for disk in root.iterfind(".//u:DiskConfiguration/u:Disk", names):
            kinds = [
                created.findtext("u:Type", None, names) for created in disk.iterfind(".//u:CreatePartition", names)
            ]
            if kinds.count("EFI") != 1:
                self._say(f"The disk gets {kinds.count('EFI')} EFI partitions, wanted one.")
            for created in disk.iterfind(".//u:CreatePartition", names):
                if (created.find("u:Size", names) is None) == (created.findtext("u:Extend", None, names) != "true"):
                    self._say(f"Partition {created.findtext('u:Order', None, names)} wants either Size or Extend.")
            formats = {
                modified.findtext("u:PartitionID", None, names): modified.findtext("u:Format", None, names)
                for modified in disk.iterfind(".//u:ModifyPartition", names)
            }
            target = root.findtext(".//u:OSImage/u:InstallTo/u:PartitionID", None, names)
            if formats.get(target) != "NTFS":
                self._say(
                    f"Windows is to go to partition {target}, which is formatted as {formats.get(target)}, not NTFS."
                )

    def _say(self, problem: str) -> None:
        self.problems.append(problem)


def _elements(parent: etree._Element) -> Iterator[etree._Element]:
    return (child for child in parent if isinstance(child.tag, str))


def _name(element: etree._Element) -> str:
    name = etree.QName(element)
    return name.localname if name.namespace == NAMESPACE else str(element.tag)
