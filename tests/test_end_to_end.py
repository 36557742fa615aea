"""The main job as a user runs it, real in every part; and a scenario that must fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.hypervisor import connect, leftovers
from tests.guest.test_state_xml import allowed
from tests.running import FinishedRun, run_scenarios

# One that is wrong on purpose: the driver redirects, so the claim that the connect goes to its station must fail.
WRONG = '''
"""Claims what is not so."""

import pytest

from harness.expect import expect


@pytest.mark.rule("W120")
def test_wrong(driver, probe, stations, witness, fence):
    """A redirected connect reaches the station it was meant for, which is not so."""
    stations.add("198.51.100.5").tcp_listen(80)
    proxy = probe.tcp_listen("127.0.0.1:8080")
    driver.redirect("tcp", remote="198.51.100.5:80", to=proxy)

    probe.tcp_connect("198.51.100.5:80")
    fence()

    expect(witness).some(dst="198.51.100.5", dport=80)
'''

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run that has the wrong scenario among the right."""
    leftovers.clean()  # of runs that were killed before: what is found afterwards is this run's
    folder = tmp_path_factory.mktemp("run")
    wrong = folder / "test_wrong.py"
    wrong.write_text(WRONG)
    chosen = ["scenarios/redirect", "scenarios/callout", wrong, "-k", "not veto and not concurrent"]
    return run_scenarios(folder / "out", *chosen, seconds=1400)


def test_only_the_wrong_scenario_fails(finished: FinishedRun) -> None:
    outcomes = {str(record["scenario"]): record["outcome"] for record in finished.results}
    wrong = {name: outcome for name, outcome in outcomes.items() if "test_wrong" in name}
    assert list(wrong.values()) == ["FAIL"], finished.text[-5000:]
    others = {name: outcome for name, outcome in outcomes.items() if name not in wrong}
    assert len(others) >= 25
    assert {name: outcome for name, outcome in others.items() if outcome != "PASS"} == {}, finished.text[-5000:]


def test_a_failure_of_the_driver_ends_with_code_1(finished: FinishedRun) -> None:
    assert finished.exit_code == 1, finished.text[-5000:]


def test_the_failure_says_what_was_wanted_and_seen(finished: FinishedRun) -> None:
    (message,) = [str(record["message"]) for record in finished.results if "test_wrong" in str(record["scenario"])]
    assert "198.51.100.5" in message
    assert "wanted" in message
    assert "timeline.txt" in message


def test_the_failure_has_the_state_of_the_filter_engine(finished: FinishedRun) -> None:
    (record,) = [record for record in finished.results if "test_wrong" in str(record["scenario"])]
    root = allowed((Path(str(record["folder"])) / "wfp-state.xml").read_bytes())
    assert root.findtext("guest") == "reference"
    (rule,) = root.findall("layers/item/filters/item[rawContext='1']")
    assert rule.findtext("layerKey") == "FWPM_LAYER_ALE_CONNECT_REDIRECT_V4"
    conditions = {item.findtext("fieldKey"): item for item in rule.findall("filterCondition/item")}
    assert conditions["FWPM_CONDITION_IP_REMOTE_ADDRESS"].findtext("conditionValue/uint32") == "198.51.100.5"
    assert "wfpcallout.sys" in [node.text for node in root.findall("layers/item/callouts/item/driver")]
    assert root.findall("flows/item/originalRemote")
    assert root.findall("unread/item") == []


def test_every_result_names_its_guest_and_keeps_its_evidence(finished: FinishedRun) -> None:
    for record in finished.results:
        assert record["guest"] == "reference"
        folder = Path(str(record["folder"]))
        for name in ("frames.pcapng", "events.jsonl", "steps.jsonl", "serial.log", "timeline.txt"):
            assert (folder / name).is_file(), f"{folder} lacks {name}"


def test_nothing_is_left_running(finished: FinishedRun) -> None:
    assert finished.exit_code in {0, 1}
    connection = connect()
    try:
        assert leftovers.find(connection) == []
    finally:
        connection.close()
