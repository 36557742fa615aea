"""ICMP and ICMPv6: echo at ALE, errors at their own layers, neighbour discovery."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.waiting import Deadline

NEIGHBOUR_SOLICITATION = 135


@pytest.mark.rule("W206", "W210")
def test_an_echo_request_is_authorized_once(driver, stations, witness, trace, fence, family):
    """Of an echo request that comes in, the first packet is classified at ALE_AUTH_RECV_ACCEPT with type and code."""
    driver.inspect(family.icmp, layer="ALE_AUTH_RECV_ACCEPT", remote=family.host)
    driver.inspect(family.icmp, layer="OUTBOUND_TRANSPORT", remote=family.host)

    stations.add(family.host).send_echo(family.guest, b"are you there")
    fence()

    request, reply = (128, 129) if family.version == 6 else (8, 0)
    expect(witness).one(direction="from-guest", proto=family.icmp, dst=family.host, contains=b"are you there")
    expect(trace).one(
        kind="classify", layer=family.layer("ALE_AUTH_RECV_ACCEPT"), local=lambda end: end.endswith(f":{request}")
    )
    expect(trace).one(
        kind="classify",
        layer=family.layer("OUTBOUND_TRANSPORT"),
        local=lambda end: end.endswith(f":{reply}") or not reply,
    )


@pytest.mark.rule("W206")
def test_a_blocked_echo_request_is_not_answered(driver, stations, witness, trace, fence, family):
    """An echo request that a callout blocks at ALE_AUTH_RECV_ACCEPT gets no reply; another host's does."""
    driver.block(family.icmp, layer="ALE_AUTH_RECV_ACCEPT", remote=family.host)

    stations.add(family.host).send_echo(family.guest, b"blocked")
    stations.add(family.other_host).send_echo(family.guest, b"welcome")
    fence()

    expect(witness).none(direction="from-guest", contains=b"blocked")
    expect(witness).one(direction="from-guest", dst=family.other_host, contains=b"welcome")
    expect(trace).one(kind="classify", layer=family.layer("ALE_AUTH_RECV_ACCEPT"), action="block")


@pytest.mark.rule("W219", "W227")
def test_an_error_from_the_network_passes_its_own_layer(driver, probe, stations, witness, trace, fence, family):
    """The ICMP error that answers a datagram to a closed port is classified at INBOUND_ICMP_ERROR, not at ALE."""
    stations.add(family.host)
    driver.inspect(family.icmp, layer="INBOUND_ICMP_ERROR", remote=family.host)
    driver.inspect(family.icmp, layer="ALE_AUTH_RECV_ACCEPT", remote=family.host)

    socket = probe.udp_open(family.end(family.guest, 5353))
    socket.send_to(family.end(family.host, 7001), b"anybody in")
    fence()

    kind, code = (1, 4) if family.version == 6 else (3, 3)
    expect(witness).one(direction="to-guest", proto=family.icmp, src=family.host)
    expect(trace).one(
        kind="classify",
        layer=family.layer("INBOUND_ICMP_ERROR"),
        local=family.end(family.guest, kind),
        remote=family.end(family.host, code),
    )
    expect(trace).none(kind="classify", layer=family.layer("ALE_AUTH_RECV_ACCEPT"))


@pytest.mark.rule("W219", "W227")
def test_an_error_of_the_guests_own_can_be_blocked(driver, stations, witness, trace, fence, family):
    """The error by which the guest answers a datagram to a closed port is blocked at OUTBOUND_ICMP_ERROR."""
    driver.block(family.icmp, layer="OUTBOUND_ICMP_ERROR", remote=family.host)
    blocked, welcome = stations.add(family.host).udp(7000), stations.add(family.other_host).udp(7000)

    blocked.send_to(family.guest, 7777, b"anybody in")
    welcome.send_to(family.guest, 7777, b"anybody in")
    fence()

    expect(witness).none(direction="from-guest", proto=family.icmp, dst=family.host)
    expect(witness).one(direction="from-guest", proto=family.icmp, dst=family.other_host)
    expect(trace).one(kind="classify", layer=family.layer("OUTBOUND_ICMP_ERROR"), action="block")


@pytest.mark.rule("W205")
def test_neighbour_discovery_is_seen_and_works(driver, probe, stations, witness, trace, fence):
    """Before the guest speaks to a neighbour it solicits its address: ICMPv6 that is classified and not disturbed."""
    server = stations.add("2001:db8::77").tcp_listen(80)
    driver.inspect("icmpv6", layer="OUTBOUND_TRANSPORT_V6")

    client = probe.tcp_connect("[2001:db8::77]:80")
    server.wait_for_connection(Deadline(10))
    fence()

    expect(client).connected()
    expect(witness).some(
        direction="from-guest", proto="icmpv6", contains=bytes.fromhex("20010db8") + bytes(11) + b"\x77"
    )
    expect(trace).some(
        kind="classify",
        layer="OUTBOUND_TRANSPORT_V6",
        protocol="icmpv6",
        local=lambda end: end.endswith(f":{NEIGHBOUR_SOLICITATION}"),
    )


@pytest.mark.rule("W076", "W077")
def test_a_block_of_one_ipv6_address_is_none_of_its_neighbours(driver, probe, stations, witness, trace, fence, ipv6):
    """A filter on an IPv6 address blocks connects to it and no others, IPv4 included."""
    for address in (ipv6.host, ipv6.other_host, "198.51.100.5"):
        stations.add(address).tcp_listen(80)
    driver.block("tcp", remote=ipv6.end(ipv6.host, 80))

    blocked = probe.tcp_connect(ipv6.end(ipv6.host, 80))
    others = probe.tcp_connect_all([ipv6.end(ipv6.other_host, 80), "198.51.100.5:80"])
    fence()

    expect(blocked).failed()
    for client in others:
        expect(client).connected()
    expect(witness).none(dst=ipv6.host)
    expect(trace).one(kind="classify", layer="ALE_AUTH_CONNECT_V6", remote=ipv6.end(ipv6.host, 80), action="block")
