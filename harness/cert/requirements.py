"""The requirements that scenarios name with @pytest.mark.requirement("Filter.Driver...."), and the tests of the kit."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from harness.errors import UsageError

_PREFIX = "Filter.Driver."
_PLATFORM = _PREFIX + "WindowsFilteringPlatform."
_BY_ANOTHER_JOB = ("Scenario.SupportTeredo",)


class Settled(StrEnum):
    """How it is found out whether a requirement is met."""

    SCENARIOS = "scenarios"  # in a guest of ours
    STATIC = "static"  # by looking at the driver's package
    HLK = "hlk"  # by the hardware lab kit, on Windows
    ATTESTATION = "attestation"  # by the word of the vendor, in WFPLogo.Info


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement; `when` are the answers that must all be yes for it to concern a driver."""

    id: str
    meaning: str
    when: tuple[str, ...]
    when_from: str  # "table" or "wording" of the pages; empty where it concerns everybody
    settled: tuple[Settled, ...]
    attestation: str  # key of WFPLogo.Info; empty where it has none
    limits: str  # what is not shown here
    hand: str  # what is to be done by hand
    older: str  # another spelling of the id in Microsoft's pages
    sources: tuple[str, ...]

    @property
    def short(self) -> str:
        """The id as a person reads it, and as WFPLogo's dialogues have it: without what all of them begin with."""
        return self.id.removeprefix(_PLATFORM).removeprefix(_PREFIX)

    @property
    def group(self) -> str:
        """The first word of its short name."""
        return self.short.partition(".")[0]

    def concerns(self, answers: Mapping[str, bool]) -> bool:
        """Whether a driver with these answers is asked for it."""
        return all(answers[name] for name in self.when)


@dataclass(frozen=True, slots=True, kw_only=True)
class KitTest:
    """One test of the lab kit. `kind` is "automatic", or "asks" for one that opens dialogues."""

    name: str
    id: str
    kind: str
    requirements: tuple[str, ...]
    known: str  # "documented" or "likely": whether a page says what the test is for
    minutes: int
    note: str


@cache
def all_requirements() -> dict[str, Requirement]:
    """Every requirement by its id, in order."""
    table = _load("requirements")
    return {entry["id"]: _requirement(entry, table["pages"]) for entry in table["requirement"]}


@cache
def all_kit_tests() -> tuple[KitTest, ...]:
    """The tests of the lab kit, in the order in which they are best run."""
    return tuple(
        KitTest(
            name=entry["name"],
            id=entry["id"],
            kind=entry["kind"],
            requirements=_ids(entry["requirements"]),
            known=entry["known"],
            minutes=entry.get("minutes", 0),
            note=entry.get("note", ""),
        )
        for entry in _load("hlk")["test"]
    )


def requirement(name: str) -> Requirement:
    """The requirement of that id, or of the end of one that no other has. Raises UsageError when there is none."""
    found = all_requirements().get(name)
    ends = [each for each in all_requirements().values() if each.id.endswith(f".{name}")]
    if found is None and len(ends) == 1:
        found = ends[0]
    if found is None and len(ends) > 1:
        raise UsageError(
            f"'{name}' is the end of {len(ends)} requirements.",
            hint=f"Wanted is one of {', '.join(e.id for e in ends)}.",
        )
    if found is None:
        raise UsageError(f"There is no requirement '{name}'.", hint=near_requirements(name))
    return found


def near_requirements(name: str) -> str:
    """What somebody who wrote this id may have meant, as a hint."""
    near = get_close_matches(name, all_requirements(), 3, cutoff=0.5)
    return f"Near are {', '.join(near)}." if near else "'wfp-hil cert' lists them all."


def unknown_requirements(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that are no id of a requirement, in their order."""
    return tuple(name for name in names if name not in all_requirements())


def _requirement(entry: Mapping[str, Any], pages: Mapping[str, str]) -> Requirement:
    return Requirement(
        id=entry["id"],
        meaning=entry["meaning"],
        when=tuple(entry.get("when", ())),
        when_from=entry.get("when_from", ""),
        settled=tuple(Settled(name) for name in entry["settled"]),
        attestation=entry.get("attestation", ""),
        limits=entry.get("limits", ""),
        hand=entry.get("hand", ""),
        older=entry.get("older", ""),
        sources=tuple(pages[name] for name in entry["sources"]),
    )


def _ids(names: Iterable[str]) -> tuple[str, ...]:
    if list(names) != ["all"]:
        return tuple(names)
    others = {_PLATFORM + name for name in _BY_ANOTHER_JOB}
    return tuple(name for name in all_requirements() if name.startswith(_PLATFORM) and name not in others)


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads((files("harness.cert.data") / f"{name}.toml").read_text(encoding="utf-8"))
