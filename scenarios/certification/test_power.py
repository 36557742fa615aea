"""Power states: afterwards the network works as before. What the guest cannot do is stood in for, or skipped."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.waiting import Deadline

STATION = "198.51.100.5"


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.SupportPowerManagedStates")
def test_the_network_works_after_the_machine_stood_still(at_work, machine, impair, probe, stations, fence):
    """A machine stands still with its cable out, as around standby; then its connections go on and new ones open."""
    stations.add(STATION).tcp_listen(80, echo=True)
    client = probe.tcp_connect(f"{STATION}:80")

    with impair.carrier_down():
        machine.pause()
        machine.resume()
    stations.ping(Deadline(30))
    client.send(b"as before")
    other = probe.tcp_connect(f"{STATION}:80", seconds=30)
    fence()

    expect(client.receive(9, exact=True)).equals(b"as before")
    expect(other).connected()


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.SupportPowerManagedStates")
def test_the_network_works_after_standby(scene):
    """After standby and hibernation connections open as before."""
    if not scene.bench.is_windows:
        pytest.skip("the reference guest has no power states")
    pytest.skip("standby of a Windows guest is not driven from here: put it to sleep by hand, or let the lab kit do it")
