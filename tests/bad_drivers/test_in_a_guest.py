"""Drivers that break a rule, in a real guest: the scenario fails, and says rule, call and place."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.running import ROOT, run_scenarios

MODEL = ROOT / "vm-images" / "reference" / "model"
UNDER_TEST = "bad-W119-each-time"

SCENARIOS = '''
"""All that is expected holds in each: what is wrong with the drivers is seen by none of them."""

import os
from pathlib import Path

import pytest

from harness.driver import DriverService
from harness.waiting import Deadline

NAME = "198.51.100.5"


def _traffic(probe, stations):
    server = stations.add(NAME)
    server.udp(53)
    server.tcp_listen(80, echo=True)
    socket = probe.udp_open()
    for text in (b"hello", b"again"):
        socket.send_to(f"{NAME}:53", text)
    client = probe.tcp_connect(f"{NAME}:80")
    client.send(b"request" * 400)
    client.receive(2800, exact=True)


def test_under_test(probe, stations, fence):
    _traffic(probe, stations)
    fence()


@pytest.mark.misuse("W119")
def test_on_purpose(probe, stations):
    _traffic(probe, stations)


@pytest.mark.parametrize("name", os.environ["BAD_DRIVERS"].split())
def test_beside(guest, machine, service, probe, stations, name):
    service.stop()
    path = rf"C:\\wfp-hil\\{name}.sys"
    guest.upload(Path(os.environ["BAD_DRIVER"]), path)
    other = DriverService(guest, name, path, quick=True)
    other.create()
    other.start()
    try:
        _traffic(probe, stations)
    except Exception as error:  # a connect may be refused, and a packet lost: that is none of this test's business
        print(error)
    mark = machine.serial.size()
    other.stop()
    machine.serial.wait_for(f"unloaded: {name}.sys", Deadline(30), since=mark, check=machine.check)
'''

# What each misdeed is told as: its rule and call, and what the report says.
TOLD = {
    "W119-redirect-handle": r"W119 FwpsRedirectHandleCreate0: .*left 1 redirect handle",
    "W016-injection-handle": r"W016 FwpsInjectionHandleCreate0: .*left 1 injection handle",
    "W012-context": r"W012 FwpsFlowAssociateContext0: .*left 1 flow context",
    "W304-list": r"W304 FwpsAllocateNetBufferAndNetBufferList0: .*left 1 NET_BUFFER_LIST",
    "W245-used-after-completion": r"W245 NET_BUFFER_LIST: .*after it has been freed",
    "W305-create": r"W305 FwpsInjectionHandleCreate0: it was called at IRQL 2",
    "W258-loop": r"W258 FwpsInject: .*had injected 2 times at the same layer",
    "W286-stream-held": r"W286 FwpsCloneStreamData0: more than 8 MB of stream data",
    "W296-not-discarded": r"W296 FwpsCloneStreamData0: .*left 1 cloned list\(s\) of stream data",
    "W101-no-right": r"W101 classifyFn: .*changed BLOCK to PERMIT without FWPS_RIGHT_ACTION_WRITE",
    "W183-never-completed": r"W183 FwpsPendOperation0: .*left 1 pended operation",
    "W166-never-completed": r"W166 FwpsPendClassify0: .*left 1 pended classif",
    "W072-filter": r"W072 FwpmFilterAdd0: .*left 1 filter",
    "W015-callout": r"W015 FwpsCalloutRegister: .*left 1 registered callout",
}

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What a run of those scenarios wrote down, by their names."""
    folder = tmp_path_factory.mktemp("bad")
    if shutil.which("x86_64-w64-mingw32-gcc") is None:
        pytest.skip("no mingw-w64 here")
    subprocess.run(["make", "-s", "-C", MODEL, "bad"], check=True, capture_output=True)
    driver = folder / f"{UNDER_TEST}.sys"  # the misdeed is chosen by the name of the service, and that by the file's
    shutil.copy(MODEL / "build" / "bad" / "bad.sys", driver)
    scenarios = folder / "test_misdeeds.py"
    scenarios.write_text(SCENARIOS)
    variables = {"BAD_DRIVER": str(driver), "BAD_DRIVERS": " ".join(f"bad-{name}" for name in TOLD)}
    return run_scenarios(folder / "out", "--driver", driver, scenarios, seconds=1400, **variables).by_name


def test_the_scenario_fails_with_rule_call_function_and_line(results: dict[str, dict[str, object]]) -> None:
    """Of the driver under test, which does its work but for one redirect handle too many for each connection."""
    result = results["test_under_test"]
    assert result["outcome"] == "FAIL"
    assert re.search(
        r"The driver broke its contract:\n  W119 FwpsRedirectHandleCreate0: .*classifyFn.*\n"
        rf"    in {UNDER_TEST}\.sys\+0x[0-9a-f]+ handle_each_time at redirects\.c:\d+\n",
        str(result["message"]),
    ), result["message"]
    breaches = result["breaches"]
    assert isinstance(breaches, list)
    assert [(breach["rule"], breach["call"]) for breach in breaches] == [("W119", "FwpsRedirectHandleCreate0")]
    assert breaches[0]["stack"]


def test_a_scenario_that_has_it_do_so_passes(results: dict[str, dict[str, object]]) -> None:
    assert results["test_on_purpose"]["outcome"] == "PASS", results["test_on_purpose"]["message"]


@pytest.mark.parametrize("name", TOLD)
def test_each_kind_of_breach_fails_its_scenario(results: dict[str, dict[str, object]], name: str) -> None:
    """With the place in the driver that did it."""
    result = results[f"test_beside[bad-{name}]"]
    assert result["outcome"] == "FAIL", result
    assert re.search(rf"  {TOLD[name]}.*\n    in bad-{name}\.sys\+0x", str(result["message"])), result["message"]
