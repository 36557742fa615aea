"""Two drivers that redirect the same connection, each to a proxy of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.driver.control import DriverControl
from harness.driver.interface import RuleFlag
from harness.driver.second_driver import SecondDriver
from harness.expect import expect
from harness.guest import Guest, ProbeClient
from harness.trace import Trace


@pytest.fixture
def second(guest: Guest, probe: ProbeClient, driver: DriverControl) -> Iterator[DriverControl]:
    """Load wfpcallout2.sys beside the driver under test; its sublayers are lighter."""
    loaded = SecondDriver.start(guest, probe)
    yield loaded.control
    loaded.control.clear()
    loaded.stop()


@pytest.mark.rule("W124", "W125", "W126", "W152")
def test_two_redirecting_drivers_do_not_send_a_connection_round(
    driver, second, probe, stations, witness, trace, fence, family
):
    """A connect that two drivers redirect reaches the last one's proxy; on from there, with its records, it leaves."""
    meant = family.end(family.host, 80)
    server = stations.add(family.host).tcp_listen(80, echo=True)
    proxy, second_proxy = (probe.tcp_listen(family.end(family.loopback, port)) for port in (8080, 8081))
    driver.redirect("tcp", remote=meant, to=proxy, flags=[RuleFlag.SOFT_PERMIT])
    second.redirect("tcp", remote=meant, to=second_proxy)

    client = probe.tcp_connect(meant).require()
    served = second_proxy.accept()
    onward = probe.tcp_connect(meant, records=served.redirect_records())
    client.send(b"question")
    onward.send(served.receive(8, exact=True))
    served.send(onward.receive(8, exact=True))
    answer = client.receive(8, exact=True)
    second.drain()
    fence()
    of_second = Trace(second)
    of_second.refresh()

    expect(answer).equals(b"question")
    expect(len(server.connections)).equals(1)
    expect(proxy.accepted).equals(0)
    expect(second_proxy.accepted).equals(1)
    expect(witness).one(dst=meant, flags="S", retransmission=False)
    expect(trace).in_order(
        {"kind": "redirect", "redirect_state": "not-redirected", "redirected_to": proxy},
        {"kind": "self", "redirect_state": "previously-redirected-by-self"},
    )
    expect(of_second).in_order(
        {"kind": "redirect", "redirect_state": "redirected-by-other", "redirected_to": second_proxy},
        {"kind": "self", "redirect_state": "redirected-by-self"},
    )
    for events in (trace, of_second):
        expect(events).one(kind="redirect")
        expect(events).one(kind="self")


@pytest.mark.rule("W129")
def test_a_redirection_alone_is_the_heavier_drivers(driver, second, probe, trace, fence):
    """A driver that redirects, and leaves the right to decide as it is then, is the only one that does."""
    proxy, second_proxy = (probe.tcp_listen(f"127.0.0.1:{port}") for port in (8080, 8081))
    driver.redirect("tcp", remote="198.51.100.5:80", to=proxy)
    second.redirect("tcp", remote="198.51.100.5:80", to=second_proxy)

    probe.tcp_connect("198.51.100.5:80").require()
    second.drain()
    fence()
    of_second = Trace(second)
    of_second.refresh()

    expect(proxy).accepted(count=1)
    expect(second_proxy).nothing()
    expect(trace).one(kind="redirect")
    expect(of_second).none(kind="redirect")
    expect(of_second).one(kind="classify", layer="ALE_CONNECT_REDIRECT_V4", rights=0)


@pytest.mark.rule("W125", "W056")
def test_a_driver_goes_on_when_the_other_one_is_unloaded(driver, second, probe, service, witness, fence, family):
    """The lighter of two drivers has the last word on a connect, and the only one when the other is unloaded."""
    meant = family.end(family.host, 80)
    proxy, second_proxy = (probe.tcp_listen(family.end(family.loopback, port)) for port in (8080, 8081))
    driver.redirect("tcp", remote=meant, to=proxy, flags=[RuleFlag.SOFT_PERMIT])
    second.redirect("tcp", remote=meant, to=second_proxy)
    probe.tcp_connect(meant).require()
    fence()
    probe.request("drv_close")
    service.stop()

    probe.tcp_connect(meant).require()
    second.drain()
    of_second = Trace(second)
    of_second.refresh()

    expect(second_proxy).accepted(count=2)
    expect(proxy).nothing()
    expect(witness).none(dst=family.host)
    expect(of_second).in_order(
        {"kind": "redirect", "redirect_state": "redirected-by-other"},
        {"kind": "redirect", "redirect_state": "not-redirected"},
    )
