"""The catalogue of documented WFP behaviour that scenarios name with @pytest.mark.rule("W187")."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from harness.errors import UsageError
from harness.wfp.data import load


class Kind(StrEnum):
    """How sure a rule is."""

    DOCUMENTED = "D"
    OBSERVED = "O"  # seen on real Windows, written nowhere
    CONFLICT = "C"  # the documents contradict each other or are silent: assert no more than the rule says


@dataclass(frozen=True, slots=True)
class Rule:
    """One numbered rule."""

    id: str
    area: str
    kind: Kind
    text: str
    check: str
    source: str


@cache
def all_rules() -> dict[str, Rule]:
    """Every rule by its id, in order."""
    return {
        entry["id"]: Rule(entry["id"], entry["area"], Kind(entry["kind"]), entry["rule"], entry["test"], entry["src"])
        for entry in load("rules")["rules"]
    }


def rule_ids() -> tuple[str, ...]:
    """The ids of all rules, in order."""
    return tuple(all_rules())


def rule(number: str) -> Rule:
    """The rule with that id."""
    if number not in all_rules():
        ids = rule_ids()
        raise UsageError(f"There is no rule {number!r} in the catalogue.", hint=f"ids go from {ids[0]} to {ids[-1]}")
    return all_rules()[number]
