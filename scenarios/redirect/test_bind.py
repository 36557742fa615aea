"""What a callout decides before there is a packet: binds, listens, connects, and the end of an endpoint."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.guest.probe import ProbeError

STATION = "198.51.100.5"
SERVER = f"{STATION}:80"
GUEST = "192.0.2.2"
IS_IMPLICIT_BIND = 0x200


@pytest.mark.rule("W116", "W136")
def test_a_listener_is_bound_to_the_address_that_the_callout_chose(driver, probe, stations, witness, trace, fence):
    """A socket that is bound to one port and redirected to another accepts connections at the other."""
    client = stations.add(STATION)
    driver.redirect_bind("tcp", local=":8081", to=":9091")

    listener = probe.tcp_listen("0.0.0.0:8081")
    connection = client.tcp_connect(GUEST, 9091)
    served = listener.accept()
    fence()

    expect(listener.port).equals(9091)
    expect(served.port).equals(9091)
    connection.close()
    expect(trace).one(kind="redirect", layer="ALE_BIND_REDIRECT_V4", status="STATUS_SUCCESS")


@pytest.mark.rule("W136")
def test_every_connection_of_a_socket_leaves_from_where_it_was_bound(driver, probe, stations, witness, trace, fence):
    """A client whose implicit bind is redirected to a port sends its SYN from there."""
    stations.add(STATION).tcp_listen(80)
    driver.redirect_bind("tcp", to=":9092", max_hits=1)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).connected()
    expect(witness).one(dst=SERVER, sport=9092, flags="S", retransmission=False)


@pytest.mark.rule("W136")
def test_a_client_gets_a_reserved_port_by_the_token_that_the_callout_sets(
    driver, probe, stations, witness, trace, fence
):
    """A bind whose request the callout gives a port reservation token comes from the reserved block; others do not."""
    stations.add(STATION).tcp_listen(80)
    reserved = probe.reserve_ports("tcp", 9400, count=3)
    with pytest.raises(ProbeError) as refused:
        probe.tcp_listen("0.0.0.0:9401")
    driver.redirect_bind("tcp", to=":0", reservation=reserved.token, max_hits=2)

    clients = probe.tcp_connect_all([SERVER, SERVER])
    fence()
    reserved.delete()
    after = probe.tcp_connect(SERVER)
    listener = probe.tcp_listen("0.0.0.0:9402")

    expect(refused.value.name).equals("WSAEACCES")
    for client in clients:
        expect(client).connected()
        expect(client.local).equals(f"{GUEST}:{client.port}")
        expect(client.port in reserved.ports).equals(True)
        expect(witness).one(dst=SERVER, sport=client.port, flags="S", retransmission=False)
    expect(after.port in reserved.ports).equals(False)
    expect(listener.port).equals(9402)
    expect(trace).count(2, kind="redirect", layer="ALE_BIND_REDIRECT_V4", status="STATUS_SUCCESS")


def test_a_listener_takes_its_port_from_a_block_that_its_process_acquired(driver, probe, trace, fence):
    """A socket associated with ports that another one acquired gets one of them, which RESOURCE_ASSIGNMENT sees."""
    holder = probe.tcp_listen("127.0.0.1:9405")
    first, token = holder.acquire_ports(count=2)
    assigned = driver.permit("tcp", layer="ALE_RESOURCE_ASSIGNMENT")

    listener = probe.tcp_listen("127.0.0.1:0", reservation=token)
    with pytest.raises(ProbeError) as refused:
        probe.tcp_listen(f"127.0.0.1:{first + 1}")
    holder.close()
    after = probe.tcp_listen(f"127.0.0.1:{first + 1}")
    fence()

    expect(listener.port in range(first, first + 2)).equals(True)
    expect(refused.value.name).equals("WSAEACCES")
    expect(after.port).equals(first + 1)
    expect(trace).one(kind="classify", rule=assigned.id, local=listener.local)


@pytest.mark.rule("W157")
@pytest.mark.parametrize(
    ("layer", "protocol"),
    [("ALE_BIND_REDIRECT", "tcp"), ("ALE_RESOURCE_ASSIGNMENT", "tcp"), ("ALE_AUTH_LISTEN", "")],
)
def test_a_blocked_bind_or_listen_is_refused(driver, probe, trace, fence, layer, protocol):
    """A bind or listen that a callout blocks fails with WSAEACCES."""
    rule = driver.block(protocol, layer=layer, local=":8082")

    with pytest.raises(ProbeError) as refused:
        probe.tcp_listen("127.0.0.1:8082")
    fence()

    expect(refused.value.name).equals("WSAEACCES")
    expect(trace).one(kind="classify", rule=rule.id, action="block")


@pytest.mark.rule("W157")
@pytest.mark.parametrize("layer", ["ALE_CONNECT_REDIRECT", "ALE_AUTH_CONNECT"])
def test_a_blocked_connect_fails_in_the_program_and_sends_nothing(driver, probe, stations, witness, fence, layer):
    """A connect that a callout blocks fails with WSAEACCES, and no frame of it is on the wire."""
    stations.add(STATION).tcp_listen(80)
    driver.block("tcp", layer=layer, remote=SERVER)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).failed("WSAEACCES")
    expect(witness).none(dst=STATION)
    expect(witness).none(src=STATION)


@pytest.mark.rule("W205")
def test_a_blocked_datagram_fails_in_the_program(driver, probe, stations, witness, fence):
    """A datagram that a callout blocks at AUTH_CONNECT fails with WSAEACCES and does not leave."""
    stations.add(STATION)
    driver.block("udp", remote=f"{STATION}:53")
    socket = probe.udp_open()

    with pytest.raises(ProbeError) as refused:
        socket.send_to(f"{STATION}:53", b"hello")
    fence()

    expect(refused.value.name).equals("WSAEACCES")
    expect(witness).none(dst=f"{STATION}:53")


@pytest.mark.rule("W159", "W201")
def test_a_client_passes_the_layers_in_order(driver, probe, stations, trace, fence):
    """A TCP connect is seen at BIND_REDIRECT, RESOURCE_ASSIGNMENT, CONNECT_REDIRECT, AUTH_CONNECT, then as a packet."""
    stations.add(STATION).tcp_listen(80)
    bind = driver.permit("tcp", layer="ALE_BIND_REDIRECT")
    assign = driver.permit("tcp", layer="ALE_RESOURCE_ASSIGNMENT")
    redirect = driver.permit("tcp", layer="ALE_CONNECT_REDIRECT", remote=SERVER)
    authorize = driver.permit("tcp", remote=SERVER)
    packet = driver.permit("tcp", layer="OUTBOUND_TRANSPORT", remote=SERVER)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).connected()
    rules = (bind, assign, redirect, authorize, packet)
    expect(trace).in_order(*({"kind": "classify", "rule": rule.id} for rule in rules))
    expect(trace).one(kind="classify", rule=assign.id, condition_flags=lambda flags: bool(flags & IS_IMPLICIT_BIND))
    for rule in (redirect, authorize):
        expect(trace).one(kind="classify", rule=rule.id)


@pytest.mark.rule("W216")
def test_the_end_of_an_endpoint_is_seen(driver, probe, trace, fence):
    """A UDP socket that is closed is seen at ENDPOINT_CLOSURE, then at RESOURCE_RELEASE, each once."""
    closure = driver.permit("udp", layer="ALE_ENDPOINT_CLOSURE", local=":8083")
    release = driver.permit("udp", layer="ALE_RESOURCE_RELEASE", local=":8083")

    probe.udp_open("127.0.0.1:8083").close()
    fence()

    expect(trace).in_order({"kind": "classify", "rule": closure.id}, {"kind": "classify", "rule": release.id})
    expect(trace).one(kind="classify", rule=release.id)


@pytest.mark.rule("W205")
def test_a_connect_to_a_local_address_is_seen(driver, probe, trace, fence):
    """A connect over loopback is authorized like any other: a callout that blocks it makes it fail."""
    listener = probe.tcp_listen("127.0.0.1:8084")
    rule = driver.block("tcp", remote="127.0.0.1:8084")

    client = probe.tcp_connect("127.0.0.1:8084")
    fence()

    expect(client).failed("WSAEACCES")
    expect(listener).nothing()
    expect(trace).one(kind="classify", rule=rule.id, layer="ALE_AUTH_CONNECT_V4", action="block")
