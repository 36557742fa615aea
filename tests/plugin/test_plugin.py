"""The plug-in, run by pytest inside pytest on a bench without a machine."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import harness.plugin.bench
import harness.plugin.recording
import harness.plugin.run
from harness.report import Outcome, read_results

pytest_plugins = ["pytester"]

# pytester forgets what the inner pytest imports; what is imported here it need not import again each time.
assert harness.plugin.bench
assert harness.plugin.recording
assert harness.plugin.run

CONFTEST = """
from fake_bench import open_fake

def pytest_wfp_open_bench(options):
    return open_fake(options)
"""


@pytest.fixture
def scenarios(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.syspathinsert(Path(__file__).parent)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(pytester: pytest.Pytester, body: str, *options: str) -> tuple[pytest.RunResult, list[dict[str, object]], Path]:
    pytester.makepyfile(
        "import pytest\nfrom harness.expect import expect\nfrom harness.errors import *\n"
        "from harness.driver.crash import Crash, CrashSeen\nfrom harness.driver.contract import Frame\n" + body
    )
    out = pytester.path / "results"
    result = pytester.runpytest("--out", str(out), *options)
    path = out / "results.jsonl"
    return result, read_results(path) if path.exists() else [], out


def outcomes(records: list[dict[str, object]]) -> list[object]:
    return [record["outcome"] for record in records if record["record"] == "result"]


def test_a_session_without_scenarios_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_ordinary():\n    pass\ndef test_wrong():\n    assert 0\n")

    result = pytester.runpytest()

    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1
    assert "test_a_session_without_scenarios_is_left_alone.py .F" in result.stdout.str()
    assert not (pytester.path / "out").exists()


def test_an_ordinary_suite_may_have_fixtures_of_the_same_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\n@pytest.fixture\ndef driver():\n    return 'a web browser'\n"
        "def test_ordinary(driver):\n    assert driver == 'a web browser'\n"
    )

    pytester.runpytest().assert_outcomes(passed=1)

    assert not (pytester.path / "out").exists()


def test_a_scenario_that_passes_leaves_its_record_and_its_folder(scenarios: pytest.Pytester) -> None:
    result, records, out = run(
        scenarios,
        """
@pytest.mark.rule("W187")
def test_one(driver, fence, trace):
    '''The driver tells what it does.'''
    driver.record(1, layer=66, action=0x1002, remote_addr="198.51.100.5", remote_port=80)
    fence()
    expect(trace).one(layer="ALE_CONNECT_REDIRECT_V4", action="permit", remote="198.51.100.5:80")
""",
    )

    assert result.ret == 0
    (attempt,) = [record for record in records if record["record"] == "result"]
    assert attempt["outcome"] == "PASS"
    assert attempt["title"] == "The driver tells what it does."
    assert attempt["rules"] == ["W187"]
    assert attempt["guest"] == "reference"
    folder = Path(str(attempt["folder"]))
    assert {path.name for path in folder.iterdir()} == {
        "frames.pcapng", "events.jsonl", "sockets.jsonl", "steps.jsonl", "serial.log", "timeline.txt",
    }  # fmt: skip
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events[0]["layer"] == "ALE_CONNECT_REDIRECT_V4"
    assert "The driver tells what it does." in result.stdout.str()
    assert records[-1] == {"record": "end", "exit_code": 0, "counts": {"PASS": 1}}
    assert out.is_dir()


@pytest.mark.parametrize(
    ("act", "outcome", "code"),
    [
        ("assert 1 == 2", Outcome.FAIL, 1),
        ("expect(trace).one(kind='inject')", Outcome.FAIL, 1),
        ("raise DeadlineExpired('No data came.')", Outcome.FAIL, 1),
        ("scene.bench.broken = GuestCrashed('Bugcheck.', code=0xd1); raise TransportError('gone')", Outcome.CRASH, 1),
        ("scene.bench.stations.answers = False; scene.fence()", Outcome.HANG, 1),
        ("{}['a bug of the scenario']", Outcome.LOST, 3),
        ("raise UsageError('There is no such layer.')", Outcome.LOST, 2),
        ("pytest.skip('not on this guest')", Outcome.SKIP, 0),
    ],
)
def test_what_ends_a_scenario_decides_outcome_and_exit_code(
    scenarios: pytest.Pytester, act: str, outcome: Outcome, code: int
) -> None:
    result, records, _ = run(scenarios, f"def test_it(scene, trace):\n    {act}\n")

    assert outcomes(records) == [outcome]
    assert result.ret == code


def test_the_failure_says_what_was_wanted_and_where_the_timeline_is(scenarios: pytest.Pytester) -> None:
    _, records, out = run(
        scenarios,
        """
def test_it(driver, fence, trace):
    driver.record(1, layer=66, action=0x1001)
    fence()
    expect(trace).one(layer="ALE_CONNECT_REDIRECT_V4", action="permit")
""",
    )

    (message,) = [str(record["message"]) for record in records if record["record"] == "result"]
    assert "wanted exactly 1 event with layer='ALE_CONNECT_REDIRECT_V4', action='permit'" in message
    assert "Nearest miss: event 1 classify ALE_CONNECT_REDIRECT_V4 block, whose action 'block'" in message
    assert message.endswith("timeline.txt")
    case = ET.parse(out / "junit.xml").find(".//testcase/failure")  # our own file
    assert case is not None
    assert case.get("message") == message


@pytest.mark.parametrize(
    ("act", "complaint"),
    [
        ("scene.bench.running = False", "no longer running"),
        ("driver.dropped = 3", "no room for 3 events"),
        ("driver.counters['pending_injections'] = 1", "1 injections pending"),
        ("driver.record(5, value=7); driver.counters['flow_contexts'] = 0", "contexts leak"),
        ("driver.record(5, value=7); driver.record(6, value=7); driver.record(6, value=7)", "more than once"),
    ],
)
def test_every_scenario_is_followed_by_checks(scenarios: pytest.Pytester, act: str, complaint: str) -> None:
    result, records, _ = run(scenarios, f"def test_it(scene, driver):\n    {act}\n")

    (attempt,) = [record for record in records if record["record"] == "result"]
    assert attempt["outcome"] == "FAIL"
    assert complaint in str(attempt["message"])
    assert result.ret == 1


def test_contexts_of_an_earlier_load_of_the_driver_are_not_counted(scenarios: pytest.Pytester) -> None:
    """A driver that was stopped took its contexts along; the one that was started after it begins to count anew."""
    restart = "driver.record(5, value=7); scene.trace.refresh(); driver.seq = 0"
    _, records, _ = run(scenarios, f"def test_it(scene, driver):\n    {restart}\n")

    (attempt,) = [record for record in records if record["record"] == "result"]
    assert attempt["outcome"] == "PASS", attempt["message"]


@pytest.mark.parametrize(
    ("fresh", "calls"),
    [("test", "fresh fresh fresh"), ("module", "fresh tidy fresh"), ("session", "fresh tidy tidy")],
)
def test_fresh_says_how_often_the_guest_is_put_back(scenarios: pytest.Pytester, fresh: str, calls: str) -> None:
    scenarios.makepyfile(test_other="def test_three(driver):\n    pass\n")

    run(scenarios, "def test_one(driver):\n    pass\ndef test_two(driver):\n    pass\n", "--fresh", fresh)

    done = (scenarios.path / "results" / "bench.txt").read_text().split()
    assert [word for word in done if word != "unload"] == calls.split()
    assert done.count("unload") == 3


def test_a_broken_guest_is_put_back_whatever_fresh_says(scenarios: pytest.Pytester) -> None:
    body = """
def test_one(scene):
    scene.bench.broken = CrashSeen(Crash(code=0xd1))
    raise TransportError('gone')
def test_two(driver):
    pass
"""
    _, records, _ = run(scenarios, body, "--fresh", "session")

    assert outcomes(records) == ["CRASH", "PASS"]
    dumps = [path.parent.name for path in (scenarios.path / "results").rglob("MEMORY.DMP")]
    assert len(dumps) == 1
    assert "test_one" in dumps[0]


def test_a_rule_that_does_not_exist_is_a_usage_error(scenarios: pytest.Pytester) -> None:
    result, _, _ = run(scenarios, "@pytest.mark.rule('W999')\ndef test_it(driver):\n    pass\n")

    assert result.ret == 2
    assert "'W999', which is not in the catalogue" in result.stdout.str() + result.stderr.str()


def test_a_guest_that_cannot_be_had_ends_the_run_with_one_sentence(scenarios: pytest.Pytester) -> None:
    scenarios.makeconftest(
        "from harness.errors import HostError\n"
        "def pytest_wfp_open_bench(options):\n    raise HostError('QEMU is not installed.', hint='Install it.')\n"
    )

    result, records, _ = run(scenarios, "def test_it(driver):\n    pass\ndef test_other(driver):\n    pass\n")

    assert result.ret == 3
    assert "error: QEMU is not installed." in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert outcomes(records) == []
    assert any("QEMU is not installed." in str(record.get("error")) for record in records)


TWO = """
def test_one(driver):
    pass
def test_two(driver):
    assert 0
"""


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--fixtures-per-test", "--setup-plan"])
def test_who_only_looks_gets_no_guest_and_no_results(scenarios: pytest.Pytester, option: str) -> None:
    result, records, out = run(scenarios, TWO, option)

    assert result.ret == 0
    assert records == []
    assert not out.exists()


def test_a_scenario_whose_body_was_not_run_did_not_pass(scenarios: pytest.Pytester) -> None:
    result, records, _ = run(scenarios, TWO, "--setup-only")

    assert outcomes(records) == [Outcome.SKIP, Outcome.SKIP]
    assert result.ret == 0


def test_the_last_failed_and_the_first_failure_work_as_in_any_suite(scenarios: pytest.Pytester) -> None:
    _, records, _ = run(scenarios, TWO + "def test_three(driver):\n    pass\n", "-x")
    assert outcomes(records) == [Outcome.PASS, Outcome.FAIL]

    again, records, _ = run(scenarios, TWO, "--lf")
    assert outcomes(records)[2:] == [Outcome.FAIL]
    again.assert_outcomes(failed=1)


def test_without_pytests_cache_nothing_changes(scenarios: pytest.Pytester) -> None:
    _, records, _ = run(scenarios, TWO, "-p", "no:cacheprovider", "-k", "one")

    assert outcomes(records) == [Outcome.PASS]


@pytest.mark.parametrize(("end", "attached"), [("assert 1 == 2", True), ("pass", False)])
def test_what_the_guest_complains_of_is_shown_with_a_failure_and_always_recorded(
    scenarios: pytest.Pytester, end: str, attached: bool
) -> None:
    said = "wfp-hil: model: UNIMPLEMENTED: a driver called FwpsPendOperation0, which is not modelled\\n"
    body = f"""
def test_it(scene):
    with scene.bench.serial_log.open("a") as log:
        log.write("{said}{said}")
    {end}
"""
    _, records, _ = run(scenarios, body)

    (attempt,) = [record for record in records if record["record"] == "result"]
    assert attempt["complaints"] == [
        "UNIMPLEMENTED: a driver called FwpsPendOperation0, which is not modelled (2 times)",
    ]
    message = str(attempt["message"])
    assert ("UNIMPLEMENTED: a driver called FwpsPendOperation0" in message) == attached
    assert ("(2 times)" in message) == attached


def test_the_live_view_is_out_of_the_way_of_the_debugger(scenarios: pytest.Pytester, monkeypatch) -> None:
    told: list[str] = []
    for word in ("start", "stop"):
        monkeypatch.setattr(f"harness.report.LiveView.{word}", lambda self, word=word: told.append(word))
    monkeypatch.setattr("builtins.breakpoint_seen", lambda: told.append("prompt"), raising=False)
    scenarios.makepyfile(
        silent="import builtins, pdb\nclass Silent(pdb.Pdb):\n"
        "    def interaction(self, *words):\n        builtins.breakpoint_seen()\n"
    )

    run(scenarios, TWO, "--pdb", "--pdbcls", "silent:Silent")

    assert told == ["start", "stop", "prompt", "stop"]


def test_a_result_names_the_seed_that_the_scenario_drew_from(scenarios: pytest.Pytester) -> None:
    body = """
def test_random(seed):
    assert seed == 7

def test_fixed(driver):
    pass
"""
    _, records, _ = run(scenarios, body, "--seed", "7")

    assert [record["seed"] for record in records if record["record"] == "result"] == ["7", ""]
    assert outcomes(records) == ["PASS", "PASS"]


@pytest.mark.parametrize("seed", ["-1", "x", "1.5"])
def test_a_seed_that_is_none_ends_the_run_before_anything_boots(scenarios: pytest.Pytester, seed: str) -> None:
    result, records, _ = run(scenarios, "def test_random(seed):\n    pass\n", f"--seed={seed}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"'{seed}' is no seed" in result.stderr.str()
    assert records == []


@pytest.mark.parametrize("seconds", ["", "0", "'long'", "1, 2"])
def test_a_time_of_silence_that_is_none_ends_the_run_before_anything_boots(
    scenarios: pytest.Pytester, seconds: str
) -> None:
    body = f"@pytest.mark.quiet({seconds})\ndef test_one(driver):\n    pass\n"
    result, records, _ = run(scenarios, body)

    assert result.ret == 2
    assert "is marked quiet with" in result.stdout.str() + result.stderr.str()
    assert records == []


def test_a_time_of_silence_reaches_the_watch_dog(scenarios: pytest.Pytester) -> None:
    body = "@pytest.mark.quiet(8)\ndef test_one(scene):\n    assert scene.bench.quiet_seconds == 8\n"
    _, records, _ = run(scenarios, body + "def test_two(scene):\n    assert scene.bench.quiet_seconds is None\n")

    assert outcomes(records) == ["PASS", "PASS"]


def timelines(out: Path) -> list[tuple[float, str, str]]:
    (path,) = out.rglob("timeline.txt")
    rows = (line.split(maxsplit=3) for line in path.read_text().splitlines())
    return [(float(at), lane, text) for at, _, lane, text in rows]


def test_a_failed_expectation_stands_in_its_timeline_when_it_failed(scenarios: pytest.Pytester) -> None:
    """In the lane of the witness that was asked, between what was done before and after; without the path."""
    body = """
from harness.steps import step
def test_it(driver, witness):
    with step("before"):
        pass
    try:
        expect(witness).one(dst="192.0.2.9")
    finally:
        with step("after"):
            pass
"""
    _, records, out = run(scenarios, body)

    rows = timelines(out)
    (failed,) = [at for at, (_, _, text) in enumerate(rows) if text.startswith("FAIL: ")]
    assert rows[failed][1] == "frame"
    assert rows[failed][2].startswith(
        "FAIL: expect(witness).one: wanted exactly 1 frame with dst='192.0.2.9', saw none"
    )
    assert "Timeline:" not in rows[failed][2]
    texts = [text for _, _, text in rows]
    assert texts.index("stop before") < failed < texts.index("start after")
    assert outcomes(records) == [Outcome.FAIL]


@pytest.mark.parametrize(
    ("body", "lane", "text"),
    [
        ("def test_it(driver): assert 1 == 2, 'two\\nlines'", "step", "FAIL: two"),
        ("def test_it(driver): raise GuestCrashed('0xd1 in a.sys', code=0xd1)", "event", "CRASH: 0xd1 in a.sys"),
        ("def test_it(driver): raise ExpectationFailed('said \\x1b[2J by it')", "step", r"FAIL: said \x1b[2J by it"),
        ("@pytest.fixture\ndef late(driver):\n    yield\n    raise ValueError('late')\ndef test_it(late): pass", "step",
         "LOST: ValueError: late"),
    ],
)  # fmt: skip
def test_whatever_ended_a_scenario_stands_in_its_timeline(
    scenarios: pytest.Pytester, body: str, lane: str, text: str
) -> None:
    _, _, out = run(scenarios, body)

    found = [(where, words) for _, where, words in timelines(out) if words.split(":")[0].isupper()]
    assert len(found) == 1
    assert found[0][0] == lane
    assert found[0][1].startswith(text)


def test_what_the_checks_behind_a_scenario_find_stands_in_its_timeline(scenarios: pytest.Pytester) -> None:
    """The records are saved by then: the timeline is written once more."""
    body = "def test_it(driver, scene): scene.check = lambda **_: (_ for _ in ()).throw(ExpectationFailed('2 left'))"
    _, records, out = run(scenarios, body)

    assert outcomes(records) == [Outcome.FAIL]
    assert ("step", "FAIL: 2 left") in [(lane, text) for _, lane, text in timelines(out)]


def test_departures_of_a_replay_stand_in_the_timeline_when_they_happened(scenarios: pytest.Pytester) -> None:
    body = """
import time
from harness.reproduce import Departure
from harness.steps import step
def test_it(driver, scene):
    with step("before"):
        pass
    now = time.monotonic()
    scene.departures += (Departure("It did not come.", (4, 5, 90), 3, (now, now + 0.001, now + 0.1)),)
"""
    _, records, out = run(scenarios, body)

    rows = timelines(out)
    departed = [(at, text) for at, lane, text in rows if lane == "replay"]
    assert [text for _, text in departed] == ["Packets 4, 5: It did not come.", "Packet 90: It did not come."]
    (before,) = [at for at, _, text in rows if text == "stop before"]
    assert before <= departed[0][0] < departed[1][0]
    (result,) = [record for record in records if record["record"] == "result"]
    assert result["departures"] == [{"text": "It did not come.", "numbers": [4, 5, 90], "count": 3}]
