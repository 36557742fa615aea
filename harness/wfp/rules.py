"""The catalogue of WFP behaviour that scenarios and tests name with @pytest.mark.rule("W187")."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache

from harness.errors import UsageError
from harness.wfp.data import load
from harness.wfp.layers import all_layers


class Kind(StrEnum):
    """How sure a rule is."""

    DOCUMENTED = "D"
    OBSERVED = "O"  # seen on real Windows, written nowhere
    CONFLICT = "C"  # the documents contradict each other or are silent: assert no more than the rule says


class Check(StrEnum):
    """How a rule can be checked."""

    SCENARIO = "scenario"  # from outside: on the wire, at the guest's sockets, in the driver's events
    ENGINE = "engine check"  # by a program that calls the engine's functions and is called back by it
    DRIVER = "driver check"  # it binds the driver: by watching what a driver calls
    NONE = "not observable"


@dataclass(frozen=True, slots=True)
class Area:
    """One of the subjects that the catalogue is divided into."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One numbered rule."""

    id: str
    area: Area
    kind: Kind
    text: str
    layers: tuple[str, ...]  # patterns of layer names, "ALE_AUTH_CONNECT_V?"; none: the engine as a whole
    check: Check
    reason: str | None  # why it cannot be observed
    sources: tuple[str, ...]  # pages of Microsoft's documentation, or what else it was read from

    @property
    def observable(self) -> bool:
        """Whether any check could show it broken."""
        return self.check is not Check.NONE

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers it concerns, by their short names and in the order of their ids."""
        return tuple(name for name in all_layers() if any(fnmatchcase(name, pattern) for pattern in self.layers))


@cache
def all_areas() -> dict[int, Area]:
    """Every area by its number."""
    return {int(number): Area(int(number), name) for number, name in load("rules")["areas"].items()}


@cache
def all_rules() -> dict[str, Rule]:
    """Every rule by its id, in order."""
    areas = all_areas()
    return {
        entry["id"]: Rule(
            id=entry["id"],
            area=areas[entry["area"]],
            kind=Kind(entry["kind"]),
            text=entry["text"],
            layers=tuple(entry["layers"]),
            check=Check(entry["check"]),
            reason=entry.get("reason"),
            sources=tuple(entry["sources"]),
        )
        for entry in load("rules")["rules"]
    }


def rule_ids() -> tuple[str, ...]:
    """The ids of all rules, in order."""
    return tuple(all_rules())


def rule(number: str) -> Rule:
    """The rule with that id; raises UsageError when there is none."""
    if number not in all_rules():
        raise UsageError(f"There is no rule {number!r} in the catalogue.", hint=near_rules(number))
    return all_rules()[number]


def near_rules(number: str) -> str:
    """What somebody who wrote this id may have meant, as a hint."""
    ids = rule_ids()
    digits = re.search(r"\d{1,3}", number)
    meant = [f"W{int(digits[0]):03}"] if digits else []
    near = [name for name in dict.fromkeys([*meant, *get_close_matches(number.upper(), ids, 3)]) if name in ids]
    return f"near are {', '.join(near)}" if near else f"ids go from {ids[0]} to {ids[-1]}"


def unknown_ids(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that are no id of the catalogue, in their order."""
    return tuple(name for name in names if name not in all_rules())


def find_area(text: str) -> Area:
    """The area of that number, or whose name begins with the text, or else holds it.

    Raises UsageError where there is none, or more than one.
    """
    areas = all_areas().values()
    wanted = text.strip().casefold()
    found = [area for area in areas if str(area.number) == wanted or area.name.casefold() == wanted]
    found = found or [area for area in areas if area.name.casefold().startswith(wanted)]
    found = found or [area for area in areas if wanted in area.name.casefold()]
    if len(found) != 1 or not wanted:
        what = "There is no area" if not found else "There is more than one area"
        known = ", ".join(f"{area.number} {area.name}" for area in (found or areas))
        raise UsageError(f"{what} {text!r} in the catalogue.", hint=f"areas: {known}")
    return found[0]
