"""Faults of the host in the middle of scenarios; run by test_faults.py, and by `python -m benchmarks.blame`."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.expect import expect
from tests.faults.table import FAULTS, made

attempts: Counter[str] = Counter()


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(scene, driver, probe, stations, trace, request, fault):
    """A fault of the host in the middle of a scenario that passes without it."""
    attempts[fault.name] += 1
    if why := fault.needs():
        pytest.skip(why)
    server = stations.add("198.51.100.5").tcp_listen(80, echo=True)
    driver.permit("tcp", remote="198.51.100.5:80")
    _talk(scene, probe, server)
    if attempts[fault.name] == 1:
        with made(fault, scene.bench):
            _talk(scene, probe, server)
    _talk(scene, probe, server)
    expect(trace).some(kind="classify", action="permit")


def _talk(scene, probe, server):
    client = probe.tcp_connect("198.51.100.5:80")
    client.send(b"question")
    expect(client.receive(8, exact=True)).equals(b"question")
    scene.fence(seconds=10)
