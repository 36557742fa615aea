"""A scenario that is lost is tried once more on a fresh machine; lost twice, no scenario runs any more."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.report import read_results

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from fake_bench import open_fake

def pytest_wfp_open_bench(options):
    return open_fake(options)

@pytest.fixture(scope="module")
def shared():
    print("MODULE SET UP")
    yield []
    print("MODULE TORN DOWN")
"""
HEAD = """
import pytest
from harness.errors import *
tries = []
"""
LOSES_ONCE = """
def test_one(scene):
    tries.append(1)
    if len(tries) == 1:
        scene.bench.broken = MachineLost('QEMU died.')
        raise TransportError('gone')
"""
ANOTHER = """
def test_two(scene):
    pass
"""


class Ran:
    def __init__(self, pytester: pytest.Pytester, body: str, *options: str) -> None:
        pytester.syspathinsert(Path(__file__).parent)
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(HEAD + body)
        out = pytester.path / "results"
        self.result = pytester.runpytest("--out", str(out), *options)
        self.said = self.result.stdout.str()
        self.records = read_results(out / "results.jsonl")
        self.results = [record for record in self.records if record["record"] == "result"]
        self.outcomes = [record["outcome"] for record in self.results]
        self.code = self.result.ret
        self.suite = ET.parse(out / "junit.xml").getroot()[0]  # our own file
        self.benches = sum(record["record"] == "session" for record in self.records)
        self.calls = [word for word in (out / "bench.txt").read_text().split() if word != "unload"]


def test_a_lost_scenario_is_tried_again_on_a_fresh_machine_and_the_run_goes_on(pytester: pytest.Pytester) -> None:
    ran = Ran(pytester, LOSES_ONCE + ANOTHER)

    assert ran.outcomes == ["LOST", "PASS", "PASS"]
    assert [record["attempt"] for record in ran.results] == [1, 2, 1]
    assert ran.calls == ["fresh", "renew", "fresh"]
    assert ran.code == 0


def test_both_attempts_are_in_every_report(pytester: pytest.Pytester) -> None:
    ran = Ran(pytester, LOSES_ONCE + ANOTHER)

    starts = [record["attempt"] for record in ran.records if record["record"] == "start"]
    assert starts == [1, 2, 1]
    assert ran.records[-1] == {"record": "end", "exit_code": 0, "counts": {"PASS": 2}, "tried_again": 1}
    folders = [Path(record["folder"]).name for record in ran.results]
    assert folders[1] == folders[0] + ".2"
    assert "QEMU died." in ran.results[0]["message"]
    assert {name: ran.suite.get(name) for name in ("tests", "errors", "failures")} == {
        "tests": "2", "errors": "0", "failures": "0",
    }  # fmt: skip
    (flaky,) = ran.suite.findall("testcase/flakyError")
    assert flaky.get("message") == "QEMU died."
    assert flaky.get("type") == "LOST"
    assert "gone" in str(flaky.findtext("stackTrace"))
    assert "::test_one (attempt 2)" in ran.said
    assert "2 PASS, 1 of them in a second attempt on a fresh machine on guest" in ran.said
    assert "1 rerun" in ran.said


def test_lost_twice_it_is_latched_with_both_causes_and_the_rest_is_skipped(pytester: pytest.Pytester) -> None:
    body = """
def test_one(scene):
    tries.append(1)
    scene.bench.broken = MachineLost(f'QEMU died for the {["first", "second"][len(tries) - 1]} time.')
    raise TransportError('gone')
"""
    ran = Ran(pytester, body + ANOTHER)

    assert ran.outcomes == ["LOST", "LOST", "SKIP"]
    assert ran.results[-1]["message"].endswith(
        "the machine was lost twice: QEMU died for the second time."
        " In the attempt before: QEMU died for the first time."
    )
    assert ran.calls == ["fresh", "renew"]
    assert ran.code == 3
    assert [element.tag for element in ran.suite[1]] == ["properties", "error", "rerunError"]


def test_a_fresh_machine_that_cannot_be_had_counts_as_the_second_loss(pytester: pytest.Pytester) -> None:
    body = """
def test_one(scene):
    scene.bench.fresh_fails = MachineLost('The guest is gone.')
    scene.bench.renew_fails = HostError('The disk is full.')
"""
    ran = Ran(pytester, body + ANOTHER + ANOTHER.replace("two", "three"))

    assert ran.outcomes == ["PASS", "LOST", "LOST", "SKIP"]
    assert "The disk is full. In the attempt before: The guest is gone." in ran.results[-1]["message"]
    assert ran.code == 3


def test_losses_of_two_scenarios_with_a_good_retry_between_latch_nothing(pytester: pytest.Pytester) -> None:
    again = LOSES_ONCE.replace("test_one", "test_two").replace("== 1", "== 3")

    ran = Ran(pytester, LOSES_ONCE + again + ANOTHER.replace("two", "three"))

    assert ran.outcomes == ["LOST", "PASS", "LOST", "PASS", "PASS"]
    assert ran.code == 0


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        ("assert 0", "FAIL"),
        ("raise GuestCrashed('Bugcheck.', code=0xd1)", "CRASH"),
        ("raise GuestHung('Stuck.')", "HANG"),
        ("raise KeyError('a mistake of the scenario')", "LOST"),
        ("open('/nonexistent')", "LOST"),
        ("raise UsageError('There is no such layer.')", "LOST"),
        ("pytest.skip('not here')", "SKIP"),
    ],
)
def test_what_another_machine_would_not_change_is_never_tried_again(
    pytester: pytest.Pytester, act: str, outcome: str
) -> None:
    ran = Ran(pytester, f"def test_one(scene):\n    {act}\n" + ANOTHER)

    assert ran.outcomes == [outcome, "PASS"]
    assert "renew" not in ran.calls


def test_a_retry_that_finds_the_driver_wrong_says_so(pytester: pytest.Pytester) -> None:
    ran = Ran(pytester, LOSES_ONCE + "    assert len(tries) < 2\n" + ANOTHER)

    assert ran.outcomes == ["LOST", "FAIL", "PASS"]
    assert ran.code == 1
    assert [element.tag for element in ran.suite[1]] == ["properties", "failure", "rerunError"]


def test_the_last_scenario_keeps_its_bench_for_the_retry(pytester: pytest.Pytester) -> None:
    body = LOSES_ONCE.replace("(scene)", "(scene, shared)")

    ran = Ran(pytester, body, "-s")

    assert ran.outcomes == ["LOST", "PASS"]
    assert ran.benches == 1
    assert ran.said.count("MODULE SET UP") == ran.said.count("MODULE TORN DOWN") == 1


def test_a_loss_that_the_checks_after_the_scenario_find_is_tried_again(pytester: pytest.Pytester) -> None:
    body = """
def test_one(scene):
    tries.append(1)
    if len(tries) == 1:
        scene.bench.broken = MachineLost('QEMU died.')
"""
    ran = Ran(pytester, body)

    assert ran.outcomes == ["LOST", "PASS"]
    assert ran.code == 0


def test_a_full_disk_of_the_host_is_tried_again_once(pytester: pytest.Pytester) -> None:
    ran = Ran(pytester, "def test_one(scene):\n    raise OSError(28, 'No space left on device')\n" + ANOTHER)

    assert ran.outcomes == ["LOST", "LOST", "SKIP"]
    assert ran.calls == ["fresh", "renew"]


def test_a_lost_attempt_does_not_end_a_run_that_ends_with_the_first_failure(pytester: pytest.Pytester) -> None:
    assert Ran(pytester, LOSES_ONCE + ANOTHER, "-x").outcomes == ["LOST", "PASS", "PASS"]


def test_fresh_says_nothing_of_the_machine_after_a_loss(pytester: pytest.Pytester) -> None:
    ran = Ran(pytester, LOSES_ONCE + ANOTHER, "--fresh", "session")

    assert ran.calls == ["fresh", "renew", "tidy"]


def test_results_that_find_no_room_end_with_code_3_and_a_sentence(pytester: pytest.Pytester) -> None:
    pytester.syspathinsert(Path(__file__).parent)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(HEAD + ANOTHER)
    out = pytester.mkdir("results")
    (out / "results.jsonl").symlink_to("/dev/full")

    result = pytester.runpytest("--out", str(out))

    said = result.stdout.str()
    assert result.ret == 3
    assert "error: Results could no longer be written" in said
    assert "INTERNALERROR" not in said
