"""A plug-in of its own, `-p harness.plugin.rule_marks`: what the collected tests are marked with, written to a file.

The file is JSON, a list of `test` (node id), `rules` and `requirements` (ids in the order of their marks),
`scenario` (true or false), `title` (its docstring).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.plugin.selection import is_scenario, requirements_of, rules_of, title_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where to write."""
    parser.getgroup("wfp-hil").addoption("--rule-marks", type=Path, metavar="FILE", required=True)


@pytest.hookimpl(
    tryfirst=True
)  # the main plug-in ends a session that names an unknown rule: whoever reads this says so
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down what was collected."""
    found = [
        {
            "test": item.nodeid,
            "rules": list(rules_of(item)),
            "requirements": list(requirements_of(item)),
            "scenario": is_scenario(item),
            "title": title_of(item),
        }
        for item in session.items
    ]
    session.config.option.rule_marks.write_text(json.dumps(found))
