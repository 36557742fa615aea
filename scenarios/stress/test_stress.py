"""Everything at once: conversations that come and go while rules and the driver do."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.traffic import frames
from harness.waiting import Deadline

STATION, ELSEWHERE = "198.51.100.5", "198.51.100.9"
ROUNDS, BURST = 6, 30


@pytest.fixture
def servers(stations):
    """Echo servers at the address that is called, and at the one that connects are redirected to."""
    return [stations.add(address).tcp_listen(80, echo=True) for address in (STATION, ELSEWHERE)]


def burst(link, number):
    """Datagrams to a port of the guest, as fast as the link takes them, and segments of no connection."""
    for index in range(BURST):
        link.send(frames.udp(STATION, "192.0.2.2", 7000 + number, 5353, b"burst %d" % index))
        link.send(frames.tcp(STATION, "192.0.2.2", 9000 + index, 5353, flags="RA", seq=index))


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.NoAccessViolations",
    "Filter.Driver.Fundamentals.DriverQuality",
)
@pytest.mark.rule("W012", "W015", "W241")
def test_connections_live_through_rules_that_change(driver, probe, servers, stations, link, witness, trace, fence):
    """Connects, resets, redirects and reinjections go on while rules come and go under a flood of datagrams."""
    probe.udp_open("192.0.2.2:5353")
    listening, elsewhere = servers

    for number in range(ROUNDS):
        rules = [
            driver.reinject("tcp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:80"),
            driver.reinject("udp", layer="INBOUND_TRANSPORT", local=":5353"),
            driver.flow_context("tcp", context_layer="STREAM"),
            driver.inspect("tcp", layer="STREAM"),
        ]
        if number % 2:
            rules.append(driver.redirect("tcp", remote=f"{STATION}:80", to=f"{ELSEWHERE}:80"))
        burst(link, number)
        client = probe.tcp_connect(f"{STATION}:80")
        client.send(b"round")
        answer = client.receive(5, exact=True)
        expect(answer).equals(b"round")
        server = (elsewhere if number % 2 else listening).wait_for_connection(Deadline(10))
        rules.pop(0).remove()
        burst(link, number)
        server.reset()
        for rule in rules:
            rule.remove()
    fence()

    expect(trace).count(ROUNDS, kind="flow-associate", status="STATUS_SUCCESS")
    expect(trace).count(ROUNDS, kind="flow-delete")
    expect(trace).none(kind="inject", status=lambda name: name != "STATUS_SUCCESS")
    expect(witness).count(ROUNDS // 2, dst=f"{ELSEWHERE}:80", flags="S", retransmission=False)


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.NoAccessViolations",
    "Filter.Driver.Fundamentals.DriverQuality",
)
@pytest.mark.rule("W015", "W016")
def test_the_driver_unloads_and_loads_under_traffic(driver, service, probe, servers, stations, link, witness, fence):
    """The driver is stopped and started while packets come in and connections are open, and works afterwards."""
    probe.udp_open("192.0.2.2:5353")

    for number in range(3):
        driver.reinject("udp", layer="INBOUND_TRANSPORT", local=":5353")
        driver.reinject("tcp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:80")
        driver.flow_context("tcp", context_layer="STREAM", remote=f"{STATION}:80")
        client = probe.tcp_connect(f"{STATION}:80")
        burst(link, number)
        probe.request("drv_close")
        service.stop()
        burst(link, number)
        client.send(b"still there")
        alive = client.receive(11, exact=True)
        expect(alive).equals(b"still there")
        service.start()
    driver.block("tcp", remote=f"{STATION}:80")
    refused = probe.tcp_connect(f"{STATION}:80", seconds=3)
    fence()

    expect(refused).failed()
    expect(witness).count(3, dst=f"{STATION}:80", flags="S", retransmission=False)
