"""A driver of the user's own, without the control interface of the reference callout driver."""

from __future__ import annotations

import pytest

from tests.plugin.test_plugin import outcomes, run, scenarios

pytest_plugins = ["pytester"]
assert scenarios  # a fixture

OWN = """
def test_own(link, witness, fence):
    fence()
    link.send(bytes(60))
    expect(witness).one(length=60)
"""
NEEDS = """
def test_needs_driver(driver):
    driver.clear()

def test_needs_trace(trace):
    expect(trace).none(kind="inject")
"""


@pytest.fixture
def own_driver(scenarios: pytest.Pytester) -> str:
    path = scenarios.path / "own.sys"
    path.write_bytes(b"MZ")
    return str(path)


def test_scenarios_that_ask_nothing_of_it_run(scenarios: pytest.Pytester, own_driver: str) -> None:
    result, records, _ = run(scenarios, OWN + NEEDS, "--driver", own_driver)

    assert outcomes(records) == ["PASS", "SKIP", "SKIP"]
    skipped = [record for record in records if record.get("outcome") == "SKIP"]
    assert "fake.sys has no control interface" in str(skipped[0]["message"])
    assert result.ret == 0


def test_a_run_in_which_nothing_could_be_tried_does_not_pass(scenarios: pytest.Pytester, own_driver: str) -> None:
    result, records, _ = run(scenarios, NEEDS, "--driver", own_driver)

    assert outcomes(records) == ["SKIP", "SKIP"]
    assert result.ret == 2
