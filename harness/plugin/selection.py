"""Which tests are scenarios, and whether what they say of themselves is right."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.wfp import near_rules, unknown_ids


def is_scenario(item: pytest.Item) -> bool:
    """Whether a test uses, through whatever fixtures, the guest that this plug-in starts."""
    return "wfp_bench" in getattr(item, "fixturenames", ())


def rules_of(item: pytest.Item) -> tuple[str, ...]:
    """The rules that a scenario shows, in the order in which it names them."""
    return tuple(dict.fromkeys(str(name) for marker in item.iter_markers("rule") for name in marker.args))


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
