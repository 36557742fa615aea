"""Which tests are scenarios, and whether what they say of themselves is right."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.cert.requirements import near_requirements, unknown_requirements
from harness.wfp import near_rules, unknown_ids


def is_scenario(item: pytest.Item) -> bool:
    """Whether a test uses, through whatever fixtures, the guest that this plug-in starts."""
    return "wfp_bench" in getattr(item, "fixturenames", ())


def rules_of(item: pytest.Item) -> tuple[str, ...]:
    """The rules that a scenario shows, in the order in which it names them."""
    return tuple(dict.fromkeys(str(name) for marker in item.iter_markers("rule") for name in marker.args))


def quiet_seconds_of(item: pytest.Item) -> float | None:
    """How long nothing may move while the scenario runs; None for the usual time."""
    marker = item.get_closest_marker("quiet")
    return None if marker is None else float(marker.args[0])


def wrong_quiet(items: Sequence[pytest.Item]) -> str | None:
    """A sentence about a mark `quiet` without a time; None when each has one."""
    for item in items:
        marker = item.get_closest_marker("quiet")
        if marker is None:
            continue
        if len(marker.args) != 1 or not isinstance(marker.args[0], (int, float)) or not marker.args[0] > 0:
            told = ", ".join(map(repr, marker.args)) or "nothing"
            return f"'{item.nodeid}' is marked quiet with {told}; wanted one number of seconds, above 0."
    return None


def requirements_of(item: pytest.Item) -> tuple[str, ...]:
    """The requirements of certification that a scenario speaks to, in the order in which it names them."""
    return tuple(dict.fromkeys(str(name) for marker in item.iter_markers("requirement") for name in marker.args))


def title_of(item: pytest.Item) -> str:
    """The scenario's docstring in one line, with the parameters of this case."""
    text = " ".join((getattr(getattr(item, "function", None), "__doc__", None) or "").split())
    case = getattr(getattr(item, "callspec", None), "id", None)
    return f"{text} [{case}]" if text and case else text


def unknown_rules(items: Sequence[pytest.Item]) -> str | None:
    """A sentence about rules that the catalogue does not have; None when all exist."""
    for item in items:
        for name in unknown_ids(rules_of(item)):
            return f"'{item.nodeid}' names the rule '{name}', which is not in the catalogue. Hint: {near_rules(name)}."
    return None


def wrong_requirements(items: Sequence[pytest.Item]) -> str | None:
    """A sentence about requirements that do not exist; None when all do."""
    for item in items:
        for name in unknown_requirements(requirements_of(item)):
            return f"'{item.nodeid}' names the requirement '{name}', which is none. Hint: {near_requirements(name)}"
    return None


def choose_by_requirement(items: Sequence[pytest.Item], wanted: Sequence[str]) -> list[pytest.Item]:
    """Those that speak to one of these requirements."""
    return [item for item in items if not set(wanted).isdisjoint(requirements_of(item))]
