"""Flows that live when the filters at their layer change."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.waiting import Deadline

STATION = "198.51.100.5"
WATCHED = f"{STATION}:80"
GUEST = "192.0.2.2"
IS_REAUTHORIZE = 0x4
CHANGED = {"kind": "classify", "reauthorized": "policy-change"}


def talk(probe):
    """A connection to an echo server, over which one question and its answer went."""
    client = probe.tcp_connect(WATCHED)
    client.send(b"ping")
    client.receive(4, exact=True)
    return client


@pytest.mark.rule("W115", "W211", "W214")
def test_a_new_block_ends_a_living_connection(driver, probe, stations, witness, trace, fence):
    """A blocking filter that is added tears a living connection down: its next packet is reauthorized."""
    server = stations.add(STATION).tcp_listen(80, echo=True)
    client = talk(probe)
    driver.block("tcp", remote=WATCHED)

    client.send(b"too late")
    server.connections[0].wait_closed(Deadline(20))
    fence()

    expect(trace).one(**CHANGED, layer="ALE_AUTH_CONNECT_V4", action="block")
    expect(witness).none(contains=b"too late")
    expect(witness).some(dst=WATCHED, payload=b"ping")


@pytest.mark.rule("W115", "W211", "W210")
def test_a_flow_is_reauthorized_once_for_each_change(driver, probe, stations, witness, trace, fence):
    """Each filter that is added or removed has a living flow reauthorized by its next packet, and by no other."""
    stations.add(STATION).tcp_listen(80, echo=True)
    client = talk(probe)
    driver.inspect("tcp", layer="ALE_AUTH_CONNECT", remote=WATCHED)
    client.send(b"first")
    client.receive(5, exact=True)
    fence()
    mine = {"local": client.local}
    expect(trace).one(**CHANGED, **mine, condition_flags=lambda flags: flags & IS_REAUTHORIZE)

    other = driver.permit("tcp", layer="ALE_AUTH_CONNECT", remote="198.51.100.77:1", slot=1)
    client.send(b"second")
    client.receive(6, exact=True)
    other.remove()
    client.send(b"third")
    client.receive(5, exact=True)
    client.send(b"fourth")
    client.receive(6, exact=True)
    fence()

    expect(trace).count(3, **CHANGED, **mine)
    expect(trace).none(kind="classify", layer="ALE_AUTH_CONNECT_V4", **mine, reauthorized="")
    expect(witness).some(dst=WATCHED, payload=b"fourth")


@pytest.mark.rule("W212", "W211")
def test_a_packet_that_comes_in_is_reauthorized_where_the_flow_went_out(driver, probe, stations, witness, trace, fence):
    """A flow that the guest opened is reauthorized at ALE_AUTH_CONNECT by a packet of its peer, too."""
    server = stations.add(STATION).tcp_listen(80)
    client = probe.tcp_connect(WATCHED)
    peer = server.wait_for_connection(Deadline(20))
    driver.inspect("tcp", layer="ALE_AUTH_CONNECT", remote=WATCHED)

    peer.send(b"news")
    news = client.receive(4, exact=True)
    fence()

    expect(news).equals(b"news")
    expect(trace).one(**CHANGED, layer="ALE_AUTH_CONNECT_V4")
    expect(trace).none(kind="classify", layer="ALE_AUTH_RECV_ACCEPT_V4")
    expect(witness).some(src=WATCHED, payload=b"news")


@pytest.mark.rule("W212", "W214")
def test_an_accepted_connection_is_reauthorized_at_its_own_layer(driver, probe, stations, witness, trace, fence):
    """A connection that the guest accepted is reauthorized, and torn down, at ALE_AUTH_RECV_ACCEPT."""
    listener = probe.tcp_listen(f"{GUEST}:7000")
    peer = stations.add(STATION).tcp_connect(GUEST, 7000, Deadline(20))
    served = listener.accept()
    driver.block("tcp", layer="ALE_AUTH_RECV_ACCEPT", local=f"{GUEST}:7000")

    served.send(b"too late")
    peer.wait_closed(Deadline(20))
    fence()

    expect(trace).one(**CHANGED, layer="ALE_AUTH_RECV_ACCEPT_V4", action="block")
    expect(trace).none(kind="classify", layer="ALE_AUTH_CONNECT_V4")
    expect(witness).none(contains=b"too late")


@pytest.mark.rule("W211", "W214")
def test_a_datagram_flow_is_blocked_when_the_policy_changes(driver, probe, stations, witness, trace, fence):
    """A UDP flow that was permitted is blocked by its next datagram after a blocking filter is added."""
    stations.add(STATION).udp(53, echo=True)
    socket = probe.udp_open()
    socket.send_to(f"{STATION}:53", b"before")
    socket.receive_from()
    driver.block("udp", remote=f"{STATION}:53")

    socket.send_to(f"{STATION}:53", b"after")
    fence()

    expect(trace).one(**CHANGED, layer="ALE_AUTH_CONNECT_V4", action="block")
    expect(witness).one(dst=f"{STATION}:53", payload=b"before")
    expect(witness).none(contains=b"after")
