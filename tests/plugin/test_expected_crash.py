"""Scenarios that want the guest to crash: they pass when the wanted crash comes with all its parts."""

from __future__ import annotations

import pytest

from harness.report import read_results
from tests.plugin.test_plugin import CONFTEST, outcomes

pytest_plugins = ["pytester"]

HEAD = """
import pytest
from pathlib import Path
from harness.driver.contract import Frame
from harness.driver.crash import Crash, CrashSeen
from harness.errors import *

def crashes(scene, **given):
    usual = {'code': 0xd1, 'stack': (Frame('x.sys', 0x46),), 'source': 'serial port'}
    scene.bench.broken = CrashSeen(Crash(**usual | given))
"""


@pytest.fixture
def scenarios(pytester: pytest.Pytester) -> pytest.Pytester:
    import tests.plugin.test_plugin as beside

    pytester.syspathinsert(str(beside.__file__).rpartition("/")[0])
    pytester.makeconftest(CONFTEST)
    return pytester


def run(pytester: pytest.Pytester, body: str, *options: str) -> list[dict[str, object]]:
    pytester.makepyfile(HEAD + body)
    out = pytester.path / "results"
    pytester.runpytest("--out", str(out), *options)
    return read_results(out / "results.jsonl")


def message(records: list[dict[str, object]]) -> str:
    return str(next(record for record in records if record["record"] == "result")["message"])


def test_the_wanted_crash_passes_and_the_next_scenario_has_a_sound_guest(scenarios: pytest.Pytester) -> None:
    records = run(
        scenarios,
        """
def test_one(scene, crash):
    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL", module="x.sys") as seen:
        crashes(scene)
        raise TransportError('the connection went with the guest')
    assert seen.crash.place.offset == 0x46
    assert seen.record.recognised_seconds == 0.25
def test_two(driver):
    pass
""",
        "--fresh",
        "session",
    )

    assert outcomes(records) == ["PASS", "PASS"]
    assert (scenarios.path / "results" / "bench.txt").read_text().split()[:3] == ["fresh", "dumps", "fresh"]


def test_a_crash_that_comes_without_an_error_is_waited_for(scenarios: pytest.Pytester) -> None:
    records = run(
        scenarios,
        """
def test_one(scene, crash):
    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL"):
        crashes(scene)
""",
    )

    assert outcomes(records) == ["PASS"]


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("crashes(scene, code=0x7e)", "wanted DRIVER_IRQL_NOT_LESS_OR_EQUAL, seen bugcheck 0x7e"),
        ("crashes(scene, stack=(Frame('y.sys', 1),))", "wanted in x.sys, seen in y.sys+0x1"),
        ("crashes(scene, stack=())", "the stack is missing"),
        ("scene.bench.heads = (); crashes(scene)", "the guest's dump is missing"),
        ("scene.bench.events_kept = 0; crashes(scene)", "the driver's last events are missing"),
        ("scene.bench.recognised_seconds = None; crashes(scene)", "how long after the fault it was recognised"),
        ("scene.bench.missing_parts = ['no screen']; crashes(scene)", "no screen"),
    ],
)
def test_another_crash_or_one_that_lacks_a_part_fails(scenarios: pytest.Pytester, act: str, words: str) -> None:
    records = run(
        scenarios,
        f"""
def test_one(scene, crash):
    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL", module="x.sys"):
        {act}
def test_two(driver):
    pass
""",
        "--fresh",
        "session",
    )

    assert outcomes(records) == ["FAIL", "PASS"]
    assert "The guest crashed, and not as wanted:" in message(records)
    assert words in message(records)


def test_a_place_in_a_driver_of_ours_without_function_and_line_fails(scenarios: pytest.Pytester) -> None:
    """Of a driver that was built elsewhere nobody can expect them."""
    records = run(
        scenarios,
        """
@pytest.mark.parametrize("module", ["wfpcrash.sys", "x.sys"])
def test_one(scene, crash, module, monkeypatch):
    monkeypatch.setattr("harness.plugin.expected_crash.find_built", lambda name: Path(name) if name[0] == "w" else None)
    scene.bench.function = ""
    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL", module=module):
        crashes(scene, stack=(Frame(module, 0x46),))
""",
    )

    assert outcomes(records) == ["FAIL", "PASS"]
    assert "function and line are missing, although wfpcrash.sys was built here" in message(records)


def test_a_guest_that_survives_fails(scenarios: pytest.Pytester) -> None:
    records = run(
        scenarios,
        """
def test_one(scene, crash):
    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL", seconds=0.05):
        pass
""",
    )

    assert outcomes(records) == ["FAIL"]
    assert "The guest did not crash within 0 s" in message(records)


def test_an_error_that_is_no_crash_is_told_as_itself(scenarios: pytest.Pytester) -> None:
    records = run(
        scenarios,
        """
def test_one(scene, crash):
    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL", seconds=0.05):
        raise ExpectationFailed('The driver answered 5.')
""",
    )

    assert outcomes(records) == ["FAIL"]
    assert message(records) == "The driver answered 5."


def test_a_lost_machine_is_no_crash(scenarios: pytest.Pytester) -> None:
    records = run(
        scenarios,
        """
def test_one(scene, crash):
    with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL"):
        scene.bench.broken = MachineLost('QEMU died.')
""",
    )

    assert set(outcomes(records)) == {"LOST"}


def test_a_name_that_no_bugcheck_has_is_an_error_of_the_scenario(scenarios: pytest.Pytester) -> None:
    records = run(
        scenarios,
        """
def test_one(scene, crash):
    with crash.expected("NO_SUCH_BUGCHECK"):
        crashes(scene)
""",
    )

    assert outcomes(records) == ["LOST"]
    assert "There is no bugcheck 'NO_SUCH_BUGCHECK'" in message(records)
