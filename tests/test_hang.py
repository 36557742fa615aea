"""Drivers that hang on purpose, in a real guest: each is told as a hang, with the thread that does not come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running import run_scenarios

SCENARIOS = '''
"""Each but the last two ends in a hang of the driver; the last finds a sound guest."""

import pytest

from harness.driver.interface import CrashPlace, LabOp

NAME = "198.51.100.5"


def test_classify(driver, probe, stations, fence):
    driver.permit("udp", layer="INBOUND_TRANSPORT", remote=f"{NAME}:53")
    driver.lab.hang(CrashPlace.CLASSIFY)
    stations.add(NAME).udp(53, echo=True)
    probe.udp_open().send_to(f"{NAME}:53", b"x")
    fence(seconds=6)


def test_unload(driver, service):
    driver.lab.hang(CrashPlace.UNLOAD)
    service.stop()


def test_request(driver):
    driver.lab.hang(CrashPlace.NOW)


@pytest.mark.quiet(8)
def test_silence(driver, probe):
    probe.request("drv_lab", seconds=100, op_code=int(LabOp.HANG), action=int(CrashPlace.NOW))


def test_cut(driver, probe, management_in_path):
    driver.lab.transaction_begin()
    for layer in ("INBOUND_IPPACKET_V4", "OUTBOUND_IPPACKET_V4"):
        driver.lab.filter_add(layer, "BLOCK")
    driver.lab.transaction_commit()


def test_sound(driver, probe, stations, fence):
    stations.add(NAME).tcp_listen(80)
    assert probe.tcp_connect(f"{NAME}:80", seconds=30).error is None
    fence()
'''

HANGS = {
    "test_classify": "turns in",
    "test_unload": "waits in",
    "test_request": "waits in",
    "test_silence": "waits in",
}

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What a run of those scenarios wrote down, by their names."""
    folder = tmp_path_factory.mktemp("hang")
    scenarios = folder / "test_hangs.py"
    scenarios.write_text(SCENARIOS)
    return run_scenarios(folder / "out", scenarios, seconds=1400).by_name


@pytest.mark.parametrize("name", HANGS)
def test_a_hang_is_told_as_a_hang_with_the_thread_and_its_place(
    results: dict[str, dict[str, object]], name: str
) -> None:
    record = results[name]
    assert record["outcome"] == "HANG", record
    message = str(record["message"])
    assert f"{HANGS[name]} " in message, message
    assert "wfpcallout.sys+0x" in message
    assert "at lab.c:" in message, "the place in the source is named"
    threads = (Path(str(record["folder"])) / "threads.txt").read_text()
    assert "wfpcallout.sys+0x" in threads


def test_silence_long_before_a_wait_is_over_is_found_by_the_watch_dog(results: dict[str, dict[str, object]]) -> None:
    """The request may take 100 s and more; nothing else would end the scenario before."""
    message = str(results["test_silence"]["message"])

    assert message.startswith("Nothing moved for "), message
    assert "in vain" not in message


def test_a_driver_that_cuts_the_network_of_the_harness_fails_and_is_no_loss(
    results: dict[str, dict[str, object]],
) -> None:
    record = results["test_cut"]
    assert record["outcome"] == "FAIL", record
    assert str(record["message"]).startswith("The driver cut the guest's management network.")
    assert "unloaded over the second channel, and then WinRM answered again" in str(record["message"])


def test_the_next_scenario_gets_a_sound_guest(results: dict[str, dict[str, object]]) -> None:
    assert results["test_sound"]["outcome"] == "PASS", results["test_sound"]
