"""High load, and a driver that comes and goes under traffic: nothing of it may crash the machine."""

from __future__ import annotations

import pytest

from harness.driver.interface import RuleFlag
from harness.expect import expect
from harness.traffic import frames
from harness.waiting import Deadline

BURST, ROUNDS = 100, 3


def burst(link, family, number):
    """Datagrams, and segments of connections that are reset at once, as fast as the link takes them."""
    for index in range(BURST):
        link.send(frames.udp(family.host, family.guest, 7000 + number, 5353, b"burst %d" % index))
        link.send(frames.tcp(family.host, family.guest, 9000 + index, 5354, flags="S", seq=index))
        link.send(frames.tcp(family.host, family.guest, 9000 + index, 5354, flags="RA", seq=index + 1))


def echo_over(client, text):
    """What comes back of a text that is sent."""
    client.send(text)
    return client.receive(len(text), exact=True)


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.NoAccessViolations",
    "Filter.Driver.Fundamentals.DriverQuality",
)
def test_high_load_leaves_the_guest_and_its_connections_alive(put_to_work, probe, stations, link, fence, family):
    """Under floods of datagrams, connects and resets a connection goes on, and new ones open."""
    put_to_work(flags=[RuleFlag.SILENT])
    probe.udp_open(family.end(family.guest, 5353))
    probe.tcp_listen(family.end(family.guest, 5354))
    stations.add(family.host).tcp_listen(80, echo=True)
    client = probe.tcp_connect(family.end(family.host, 80), seconds=30)

    for number in range(ROUNDS):
        burst(link, family, number)
        expect(echo_over(client, b"still there")).equals(b"still there")
        other = probe.tcp_connect(family.end(family.host, 80), seconds=30)
        expect(echo_over(other, b"and new")).equals(b"and new")
        other.reset()
        fence()


@pytest.mark.rule("W015", "W016")
@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.NoAccessViolations",
    "Filter.Driver.Fundamentals.DriverQuality",
)
def test_the_driver_comes_and_goes_under_traffic(put_to_work, service, probe, stations, link, family):
    """The driver is unloaded and loaded while packets arrive; connections outlive it, and it works again afterwards."""
    probe.udp_open(family.end(family.guest, 5353))
    stations.add(family.host).tcp_listen(80, echo=True)

    for number in range(ROUNDS):
        put_to_work(flags=[RuleFlag.SILENT])
        client = probe.tcp_connect(family.end(family.host, 80), seconds=30)
        burst(link, family, number)
        probe.request("drv_close")
        service.stop()
        burst(link, family, number)
        expect(echo_over(client, b"outlived it")).equals(b"outlived it")
        service.start()
        burst(link, family, number)
        expect(echo_over(client, b"seen again")).equals(b"seen again")
    stations.ping(Deadline(30))


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.NoAccessViolations",
    "Filter.Driver.Fundamentals.DriverQuality",
)
def test_the_driver_comes_and_goes_in_silence(service, probe, stations):
    """The driver is unloaded and loaded five times with nothing on the wire, and the network is as it was."""
    for _ in range(5):
        probe.request("drv_close")
        service.stop()
        service.start()

    stations.ping(Deadline(30))
