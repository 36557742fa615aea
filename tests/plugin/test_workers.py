"""Scenarios on several machines: workers of pytest-xdist, each with a bench of its own, and one ledger for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from harness.plugin.workers import Workers
from harness.report import read_results

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.timeout(600)  # each starts three or four processes of pytest, which share a busy host

CONFTEST = """
from fake_bench import open_fake

def pytest_wfp_open_bench(options):
    return open_fake(options)
"""

FOUR = """
import os, pytest
from harness.errors import *
@pytest.mark.parametrize("case", range(4))
def test_it(driver, scene, case):
    '''It is.'''
    (scene.folder.path / "pid").write_text(str(os.getpid()))
    {act}
"""


def run(
    pytester: pytest.Pytester, body: str, *options: str, conftest: str = CONFTEST
) -> tuple[pytest.RunResult, list[dict[str, Any]], Path]:
    pytester.makeconftest(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{conftest}")
    pytester.makepyfile(body)
    out = pytester.path / "results"
    result = pytester.runpytest_subprocess("-n", "2", "--out", str(out), *options)
    path = out / "results.jsonl"
    return result, read_results(path) if path.exists() else [], out


def kinds(records: list[dict[str, Any]]) -> Counter[str]:
    return Counter(record["record"] for record in records)


def test_two_machines_share_the_scenarios_and_one_ledger(pytester: pytest.Pytester) -> None:
    """Round robin gives each of two workers two of four: both took part, and every record is there once."""
    result, records, out = run(pytester, FOUR.format(act="pass"), "--dist", "load")

    assert result.ret == 0
    assert kinds(records) == {"session": 1, "start": 4, "result": 4, "end": 1}
    assert records[-1] == {"record": "end", "exit_code": 0, "counts": {"PASS": 4}}
    assert len({path.read_text() for path in out.rglob("pid")}) == 2
    assert sorted(path.parent.name for path in out.rglob("serial.log") if "machines" in path.parts) == ["gw0", "gw1"]
    result.assert_outcomes(passed=4)
    suite = ET.parse(out / "junit.xml").getroot()[0]
    assert suite.get("tests") == "4"
    said = result.stdout.str()
    assert said.count("PASS") >= 4
    assert "gw0: prepare guest 'reference'" in said
    assert "gw1: prepare guest 'reference'" in said


def test_what_one_machine_finds_decides_the_exit_code_of_all(pytester: pytest.Pytester) -> None:
    result, records, _ = run(pytester, FOUR.format(act="assert case != 3, 'the third'"))

    assert result.ret == 1
    assert records[-1]["counts"] == {"PASS": 3, "FAIL": 1}
    (failed,) = [record for record in records if record.get("outcome") == "FAIL"]
    assert "the third" in failed["message"]
    assert failed["title"] == "It is. [3]"
    result.assert_outcomes(passed=3, failed=1)


def test_a_usage_error_of_a_scenario_comes_through(pytester: pytest.Pytester) -> None:
    result, records, _ = run(pytester, FOUR.format(act="raise UsageError('There is no such layer.')"), "-k", "0 or 1")

    assert result.ret == 2
    assert records[-1]["counts"] == {"LOST": 2}


def test_a_guest_that_cannot_be_had_ends_all_with_one_sentence(pytester: pytest.Pytester) -> None:
    conftest = (
        "from harness.errors import HostError\n"
        "def pytest_wfp_open_bench(options):\n    raise HostError('QEMU is not installed.', hint='Install it.')\n"
    )
    result, records, _ = run(pytester, FOUR.format(act="pass"), conftest=conftest)

    assert result.ret == 3
    said = result.stdout.str() + result.stderr.str()
    assert said.count("error: QEMU is not installed.") == 1
    assert "Traceback" not in said
    assert kinds(records)["result"] == 0
    assert records[-1]["record"] == "end"


def test_a_worker_that_dies_loses_its_scenario_and_no_other(pytester: pytest.Pytester) -> None:
    """The process is gone, not the driver's fault: LOST, and another worker goes on."""
    act = "os.kill(os.getpid(), 9) if case == 1 else None"
    result, records, out = run(pytester, FOUR.format(act=act))

    assert result.ret == 3
    assert records[-1]["counts"] == {"PASS": 3, "LOST": 1}
    (lost,) = [record for record in records if record.get("outcome") == "LOST"]
    assert lost["scenario"].endswith("[1]")
    assert "says nothing about the driver" in lost["message"]
    error = ET.parse(out / "junit.xml").find(".//error")
    assert error is not None


def test_a_suite_without_scenarios_runs_in_parallel_as_ever(pytester: pytest.Pytester) -> None:
    result, records, out = run(pytester, "def test_a():\n    pass\ndef test_b():\n    assert 0\n")

    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1
    assert records == []
    assert not out.exists()


@pytest.mark.parametrize(("number", "cleared"), [(signal.SIGKILL, 0), (signal.SIGINT, 2)])
def test_workers_end_with_the_leader(pytester: pytest.Pytester, number: int, cleared: int) -> None:
    """A pipe that all hold is closed by the last one's end; interrupted, each worker lets go of its bench first."""
    pytester.makeconftest(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{CONFTEST}")
    told = pytester.path / "told"
    os.mkfifo(told)
    # signal.pause() would sleep on where the interrupt comes just before it.
    act = f"Path({str(told)!r}).write_text(f'{{os.getpid()}} '); wait_for(lambda: None, Deadline(500), 'an interrupt')"
    head = "from pathlib import Path\nfrom harness.waiting import Deadline, wait_for"
    pytester.makepyfile(head + FOUR.format(act=act).replace("range(4)", "range(2)"))
    reading, writing = os.pipe()
    arguments = ["-n", "2", "--dist", "load", "--out", "results", "-p", "no:cacheprovider"]
    program = "import pytest, signal, sys; signal.signal(2, signal.default_int_handler); pytest.main(sys.argv[1:])"
    words = [sys.executable, "-c", program, *arguments]
    leader = subprocess.Popen(words, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    with told.open("r+b", buffering=0) as pids:  # never without a reader or a writer, which would lose what is in it
        said = b""
        while len(said.split(b" ")) < 3:
            said += pids.read(1000)

    os.kill(leader.pid, number)
    leader.wait(timeout=300)

    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b""  # returns when nobody holds the other end
    assert len(list((pytester.path / "results").rglob("bench.txt"))) == cleared


def test_a_stranger_without_the_key_has_no_say(tmp_path: Path) -> None:
    options = {"--out": tmp_path, "--guest": "reference", "--fresh": "test", "--contract": "fail"}
    config: Any = SimpleNamespace(getoption=options.get, pluginmanager=SimpleNamespace(getplugin=lambda _name: None))
    workers = Workers(config)
    node = SimpleNamespace(workerinput={}, gateway=SimpleNamespace(id="gw0"))
    workers.invite(node)
    told: dict[str, Any] = node.workerinput["wfp_hil"]

    with pytest.raises(AuthenticationError):
        Client(told["address"], family="AF_UNIX", authkey=b"guessed")

    with Client(told["address"], family="AF_UNIX", authkey=bytes.fromhex(told["key"])) as line:
        hello = {"worker": "gw0", "pid": os.getpid(), "facts": {"guest": "reference"}, "only_scenarios": True}
        line.send_bytes(json.dumps(["hello", hello]).encode())
        line.send_bytes(json.dumps(["begin", {"scenario": "a", "attempt": 1}]).encode())
    assert workers.end(0) == 0
    assert kinds(read_results(tmp_path / "results.jsonl")) == {"start": 1, "end": 1}


LOSING = """
import os, pytest
from pathlib import Path
from harness.errors import *

def machine():
    return os.environ["PYTEST_XDIST_WORKER"]

@pytest.mark.parametrize("case", range(8))
def test_it(driver, scene, case):
    with Path("ran").open("a") as ran:
        ran.write(f"{{machine()}} {{case}}\\n")
    {act}
"""
LOST = "raise MachineLost(f'QEMU of {machine()} died.')"


def ran(pytester: pytest.Pytester) -> list[tuple[str, str]]:
    return [(words[0], words[1]) for words in map(str.split, (pytester.path / "ran").read_text().splitlines())]


@pytest.mark.parametrize("dist", ["worksteal", "load", "loadfile"])
def test_what_a_latched_machine_leaves_runs_on_a_sound_one(pytester: pytest.Pytester, dist: str) -> None:
    """One scenario is lost for good; all others pass once, none of them on the machine that was lost twice."""
    act = f"if machine() == 'gw0': {LOST}"
    body = LOSING.format(act=act)
    if dist == "loadfile":  # a file each: a worker has several files ahead
        for number in range(6):
            pytester.makepyfile(**{f"test_more_{number}": body.replace("range(8)", "range(1)")})
    result, records, _ = run(pytester, body, "--dist", dist)

    done = [record for record in records if record["record"] == "result"]
    lost = [record for record in done if record["outcome"] == "LOST"]
    passed = [record["scenario"] for record in done if record["outcome"] == "PASS"]
    total = 14 if dist == "loadfile" else 8
    assert result.ret == 3
    assert [record["attempt"] for record in lost] == [1, 2]
    assert lost[0]["scenario"] == lost[1]["scenario"]
    assert len(passed) == len(set(passed)) == total - 1
    assert len([place for place in ran(pytester) if place[0] == "gw0"]) == 2
    assert records[-1]["counts"] == {"PASS": total - 1, "LOST": 1}
    assert kinds(records)["start"] == total + 1
    result.assert_outcomes(passed=total - 1, errors=1)
    said = result.stdout.str()
    assert said.count("gw0: the machine was lost twice: QEMU of gw0 died.") == 1


def test_where_all_machines_are_latched_the_rest_is_skipped_with_every_cause(pytester: pytest.Pytester) -> None:
    result, records, _ = run(pytester, LOSING.format(act=LOST), "--dist", "worksteal")

    skipped = [record for record in records if record.get("outcome") == "SKIP"]
    assert result.ret == 3
    assert records[-1]["counts"] == {"LOST": 2, "SKIP": 6}
    assert len({record["scenario"] for record in skipped}) == 6
    for record in skipped:
        for machine in ("gw0", "gw1"):
            assert f"{machine}: the machine was lost twice: QEMU of {machine} died." in record["message"]
    assert len(ran(pytester)) == 4
    result.assert_outcomes(skipped=6, errors=2)


def test_what_was_handed_back_is_lost_where_the_process_that_took_it_dies(pytester: pytest.Pytester) -> None:
    """Told once, as LOST, and what is left still runs: pytest-xdist starts another worker in its place."""
    act = f"""
    if machine() == 'gw0':
        {LOST}
    with Path("ran").open() as file:
        if len([line for line in file if not line.startswith("gw0")]) == 6:
            os.kill(os.getpid(), 9)
"""
    result, records, _ = run(pytester, LOSING.format(act=act.strip()), "--dist", "worksteal")

    assert result.ret == 3
    assert records[-1]["counts"] == {"PASS": 6, "LOST": 2}
    (died,) = [record for record in records if "ended in the middle" in str(record.get("message"))]
    assert died["outcome"] == "LOST"


def test_handed_back_scenarios_share_a_bench(pytester: pytest.Pytester) -> None:
    """Opening one takes seconds: it is opened once for a worker's own share, and at most once more for all the rest."""
    note = "    open('opened', 'a').write(f'{options.worker} ')\n    return"
    conftest = CONFTEST.replace("    return", note)
    act = f"if machine() == 'gw0': {LOST}"
    result, _, _ = run(pytester, LOSING.format(act=act), "--dist", "load", conftest=conftest)

    opened = Counter((pytester.path / "opened").read_text().split())
    assert result.ret == 3
    assert opened["gw0"] == 1
    assert opened["gw1"] <= 2
