"""Faults of the host at random moments of scenarios; `python -m benchmarks.blame` counts what each came to."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from contextlib import ExitStack, suppress

import pytest

from harness.errors import HarnessError
from harness.expect import expect
from tests.faults.table import FAULTS

RUNS, SEED = (int(word) for word in os.environ["WFP_HIL_BLAME"].split())
# A transfer is cut within itself, which the table does at its own moment.
USABLE = [fault for fault in FAULTS if not fault.name.startswith("sftp")]
LATEST_SECONDS = 2.0

attempts: Counter[int] = Counter()


@pytest.mark.parametrize("number", range(RUNS))
def test_blame(scene, driver, probe, stations, witness, trace, number):
    """A scenario, and a fault of the host at any moment of it."""
    attempts[number] += 1
    dice = random.Random(f"{SEED} {number}")
    usable = [fault for fault in USABLE if fault.needs() is None]
    fault, delay = dice.choice(usable), dice.uniform(0, LATEST_SECONDS)
    with ExitStack() as stack:
        timer = threading.Timer(delay, _make, (fault, scene.bench, stack))
        if attempts[number] == 1:
            timer.start()
            stack.callback(timer.join)
        server = stations.add("198.51.100.5").tcp_listen(80, echo=True)
        driver.permit("tcp", remote="198.51.100.5:80")
        while True:
            client = probe.tcp_connect("198.51.100.5:80")
            client.send(b"question")
            expect(client.receive(8, exact=True)).equals(b"question")
            scene.fence(seconds=10)
            expect(witness).some(dst="198.51.100.5", dport=80)
            expect(trace).some(kind="classify", action="permit")
            if not timer.is_alive():
                break
    assert server is not None


def _make(fault, bench, stack):
    with suppress(HarnessError, OSError, AssertionError):  # another of its consequences
        fault.make(bench, stack)
