"""The cable of the test NIC: pulled, and put back."""

from __future__ import annotations

from contextlib import suppress

import pytest

from harness.expect import expect
from harness.guest import ProbeError
from harness.waiting import Deadline, wait_for


@pytest.mark.parametrize("way", ["carrier", "silence"])
def test_a_connection_outlives_a_cut(driver, probe, stations, impair, trace, fence, way):
    """A connection with a flow context is idle while the link is down, and goes on with that context afterwards."""
    server = stations.add("198.51.100.5").tcp_listen(80, echo=True)
    driver.flow_context("tcp", context_layer="STREAM", remote="198.51.100.5:80")
    client = probe.tcp_connect("198.51.100.5:80").require()
    client.send(b"before")
    expect(client.receive(6, exact=True)).equals(b"before")

    if way == "carrier":
        with impair.carrier_down():
            client.send(b"meanwhile")
    else:
        impair(down=True)
        client.send(b"meanwhile")
        fence()
        expect(server.connections[0].received).equals(b"before")
        impair.nothing()
    echoed = client.receive(9, exact=True, seconds=30)
    client.close()
    server.connections[0].wait_closed(Deadline(30))
    fence()

    expect(echoed).equals(b"meanwhile")
    expect(trace).one(kind="flow-associate", status="STATUS_SUCCESS")
    expect(trace).one(kind="flow-delete")


def test_a_link_without_carrier_loses_datagrams_and_no_more(driver, probe, stations, impair, witness, trace, fence):
    """What is injected while the cable is out ends with its completion, and nothing of it arrives later."""
    server = stations.add("198.51.100.5").udp(53)
    client = probe.udp_open("192.0.2.2:5353")
    driver.reinject("udp", layer="OUTBOUND_TRANSPORT", remote="198.51.100.5:53")

    with impair.carrier_down():
        with suppress(ProbeError):  # a stack may say that there is no network
            client.send_to("198.51.100.5:53", b"into the void")
        driver.drain()
    client.send_to("198.51.100.5:53", b"and on")
    received = server.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"and on")
    expect(len(server.received)).equals(1)
    expect(witness).none(contains=b"into the void")
    expect(trace).none(kind="inject-complete", status=lambda status: status != "STATUS_SUCCESS")


def test_the_guest_notices_its_cable(machine, guest, impair):
    """The driver of the NIC takes its carrier off while the cable is out, and gives it back."""
    if machine.nics[0].model == "e1000e":
        pytest.skip("QEMU sends one interrupt of this NIC for its link, that of the boot")

    with impair.carrier_down():
        wait_for(lambda: not guest.has_carrier() or None, Deadline(30), "the guest's NIC to lose its carrier")
    wait_for(lambda: guest.has_carrier() or None, Deadline(30), "the guest's NIC to have its carrier again")
