"""A look at the driver's package: what in it endangers which requirement, before anything runs.

This is neither InfVerif nor the kit's static tools; it finds what can be told from the files alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.cert.answers import Answers
from harness.cert.requirements import requirement
from harness.driver import check_inf, check_loadable, load_package
from harness.driver.inf import Inf, load_inf
from harness.driver.inf_check import copied_files, find_service, load_inf_rules
from harness.driver.version import read_version
from harness.errors import DriverPackageError
from harness.wfp.kernel import releases

_RULE = re.compile(r" \[([a-z-]+)\]$")
_INTEGRITY = "Filter.Driver.DeviceGuard.DriverCompatibility"
_WARNINGS = 2000
_QUALITY = "Filter.Driver.Fundamentals.DriverQuality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in the package; `breaks`: as it stands the requirement will not be met, else somebody has to look."""

    requirement: str
    breaks: bool
    text: str
    instead: str
    source: str


def examine_package(answers: Answers) -> list[Finding]:
    """What endangers a requirement, what breaks it first; nothing for requirements that do not concern the driver.

    Raises DriverPackageError when the driver cannot be read at all.
    """
    path = answers.driver_file
    found = [*_imports(path), *_image(path, answers), *_version(answers), *_inf(answers)]
    kept = [each for each in found if _concerns(each, answers)]
    return sorted(dict.fromkeys(kept), key=lambda each: not each.breaks)


def _concerns(finding: Finding, answers: Answers) -> bool:
    return requirement(finding.requirement).concerns(answers.flags)


def _imports(path: Path) -> Iterator[Finding]:
    package = load_package(path)
    content = path.read_bytes().lower()
    imported = {name for names in package.imports.values() for name in names}
    for entry in _data()["attached"]:
        named = [each for each in entry["devices"] if f"{each}\0".lower().encode("utf-16-le") in content]
        if named and imported & set(entry["imports"]):
            told = "', '".join(named)
            yield _finding(entry, f"It can attach itself to devices, and names '{told}', {entry['text']}.")
    for entry in _data()["import"]:
        for module, names in package.imports.items():
            for name in names:
                if module in entry.get("modules", ()) or name in entry.get("names", ()):
                    yield _finding(entry, f"It imports '{name}' of '{module}', which {entry['text']}.")


def _image(path: Path, answers: Answers) -> Iterator[Finding]:
    seen: dict[str, list[str]] = {}
    asked = answers.driver.releases or releases()
    for release in asked:
        for text in check_loadable(path, release=release):
            seen.setdefault(text, []).append(release)
    for text, where in seen.items():
        rule = _RULE.search(text)
        on = "" if len(where) == len(asked) else f" ({', '.join(where)})"
        entry = next((each for each in _data()["rules"] if rule and rule[1] in each["names"]), _data()["rules"][-1])
        yield _finding(entry, _RULE.sub("", text) + on)


def _version(answers: Answers) -> Iterator[Finding]:
    version = read_version(answers.driver_file)
    if version is None:
        return  # told by the rule `version`
    if set(version.file_version.split(".")) == {"0"}:
        yield _of_version(f"The file version is {version.file_version}.", "Give every build a version of its own.")
    company, name = version.texts.get("CompanyName", ""), version.texts.get("OriginalFilename", "")
    if company and company.strip() != answers.driver.company:
        yield _of_version(f"CompanyName is '{company}' in the file and '{answers.driver.company}' in driver.toml.")
    if name and name.lower() != answers.driver_file.name.lower():
        yield _of_version(f"OriginalFilename is '{name}', and the file is called '{answers.driver_file.name}'.")
    if answers.inf_file is None:
        return
    stated = load_inf(_content(answers.inf_file)).values("Version", "DriverVer")
    if len(stated) > 1 and stated[1] != version.file_version:
        yield _of_version(f"The INF has version {stated[1]} and the driver file {version.file_version}.")


def _of_version(text: str, instead: str = "Have them say the same.") -> Finding:
    page = _data()["pages"]["specification"]
    return Finding(requirement=_INTEGRITY, breaks=False, text=text, instead=instead, source=page)


def _inf(answers: Answers) -> Iterator[Finding]:
    entry = _data()["inf"]
    if answers.inf_file is None:
        text = f"There is no INF beside '{answers.driver_file.name}', and driver.toml names none."
        yield Finding(
            requirement=_QUALITY,
            breaks=False,
            text=text,
            instead="A submission needs one; 'inf' under [driver] names it.",
            source=_data()["pages"]["inf"],
        )
        return
    content = _content(answers.inf_file)
    for text in check_inf(content):
        rule = _RULE.search(text)
        yield _finding(
            {**entry, "breaks": rule is not None and not _only_warned_of(rule[1])},
            f"'{answers.inf_file.name}': {_RULE.sub('', text)}",
        )
    yield from _inf_and_driver(answers, answers.inf_file.name, load_inf(content))


def _only_warned_of(rule: str) -> bool:
    return rule in _data()["inf"]["look"] or int(load_inf_rules()[rule].get("code", 0)) >= _WARNINGS


def _inf_and_driver(answers: Answers, name: str, inf: Inf) -> Iterator[Finding]:
    driver, service = answers.driver_file, find_service(inf)
    if driver.name.lower() not in {each.lower() for each in copied_files(inf)}:
        yield _finding(_data()["inf"], f"'{name}' does not copy '{driver.name}'.")
    if service is None or not re.fullmatch("0|0x0+", inf.value(service[1], "StartType")):
        return
    if not load_package(driver).is_signed:
        yield _finding(
            {**_data()["boot"], "breaks": False},
            f"'{name}' starts it at boot, and '{driver.name}' has no signature in the file itself.",
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DriverPackageError(
            f"The INF '{path}' could not be read: {error.strerror}.",
            hint="'inf' under [driver] in driver.toml names it.",
        ) from error


def _finding(entry: Mapping[str, Any], text: str) -> Finding:
    return Finding(
        requirement=entry["requirement"],
        breaks=entry["breaks"],
        text=text,
        instead=entry["instead"],
        source=_data()["pages"][entry["page"]],
    )


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((files("harness.cert.data") / "readiness.toml").read_text(encoding="utf-8"))
