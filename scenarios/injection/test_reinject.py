"""Packets that a callout swallows and injects again, as they were or changed."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.waiting import Deadline

STATION = "198.51.100.5"


@pytest.mark.rule("W245", "W255", "W258", "W265")
@pytest.mark.parametrize("layer", ["OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET"])
def test_outbound_reinjection_delivers_once_and_unchanged(
    driver, probe, stations, witness, trace, fence, family, layer
):
    """A datagram that is cloned, dropped and injected leaves the guest once, unchanged, with right checksums."""
    server = stations.add(family.host).udp(53)
    target = family.end(family.host, 53)
    driver.reinject("udp", layer=layer, remote=target)

    probe.udp_open(family.end(family.guest, 5353)).send_to(target, b"clone me")
    received = server.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"clone me")
    expect(witness).one(proto="udp", dst=target, payload=b"clone me", checksums="right")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")


@pytest.fixture
def conversation(probe, stations, family):
    """A socket of the guest and one of a station that have already spoken: ALE has nothing left to authorize."""
    socket = probe.udp_open(family.end(family.guest, 5353))
    station = stations.add(family.host).udp(7000)
    socket.send_to(family.end(family.host, 7000), b"question")
    station.receive(Deadline(10))
    return socket, station


@pytest.mark.rule("W245", "W261", "W265")
@pytest.mark.parametrize("layer", ["INBOUND_TRANSPORT", "INBOUND_IPPACKET"])
def test_inbound_reinjection_delivers_once_and_unchanged(driver, conversation, witness, trace, fence, family, layer):
    """A datagram that is cloned, dropped and injected on its way in reaches the guest's socket once, unchanged."""
    socket, station = conversation
    driver.reinject("udp", layer=layer, local=family.end(family.guest, 5353))

    station.send_to(family.guest, 5353, b"clone me")
    data, peer = socket.receive_from()
    station.send_to(family.guest, 5353, b"the next")
    following, _ = socket.receive_from()
    fence()

    expect(data).equals(b"clone me")
    expect(peer).equals(family.end(family.host, 7000))
    expect(following).equals(b"the next")
    expect(witness).count(2, direction="to-guest", dst=family.end(family.guest, 5353))
    expect(trace).count(2, kind="inject", layer=family.layer(layer), status="STATUS_SUCCESS")
    expect(trace).count(2, kind="inject-complete", status="STATUS_SUCCESS")


@pytest.mark.rule("W254")
def test_what_ale_has_yet_to_authorize_is_not_injected(driver, probe, stations, trace, fence):
    """The first datagram of a flow may not be injected from the transport layer; it passes, and the second is."""
    socket = probe.udp_open("192.0.2.2:5353")
    driver.reinject("udp", layer="INBOUND_TRANSPORT", local="192.0.2.2:5353")
    station = stations.add(STATION).udp(7000)

    station.send_to("192.0.2.2", 5353, b"the first")
    first, _ = socket.receive_from()
    station.send_to("192.0.2.2", 5353, b"the second")
    second, _ = socket.receive_from()
    fence()

    expect(first).equals(b"the first")
    expect(second).equals(b"the second")
    expect(trace).in_order(
        {"kind": "classify", "action": "permit"}, {"kind": "classify", "action": "block"}, {"kind": "inject"}
    )
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")


@pytest.mark.rule("W253", "W255", "W263")
def test_a_tcp_stream_survives_reinjection_of_every_segment(driver, probe, stations, witness, trace, fence, family):
    """With every outgoing segment dropped and injected again, a TCP conversation carries its bytes unharmed."""
    stations.add(family.host).tcp_listen(7, echo=True)
    driver.reinject("tcp", layer="OUTBOUND_TRANSPORT", remote=family.end(family.host, 7))
    text = bytes(range(256)) * 16

    client = probe.tcp_connect(family.end(family.host, 7))
    client.send(text)
    echoed = client.receive(len(text), exact=True)
    fence()

    expect(echoed).equals(text)
    expect(witness).none(direction="from-guest", proto="tcp", checksums=lambda words: words != "right")
    expect(trace).none(kind="inject", status=lambda name: name != "STATUS_SUCCESS")
    expect(trace).some(kind="inject")


@pytest.mark.rule("W263", "W268")
def test_a_modified_datagram_arrives_modified(driver, probe, stations, witness, trace, fence, family):
    """A payload that the callout replaces arrives replaced, with right checksums, and never as it was."""
    server = stations.add(family.host).udp(53)
    target = family.end(family.host, 53)
    driver.replace("udp", layer="OUTBOUND_TRANSPORT", remote=target, pattern=b"secret", replacement=b"xxxxxx")

    probe.udp_open(family.end(family.guest, 5353)).send_to(target, b"my secret word")
    received = server.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"my xxxxxx word")
    expect(witness).one(dst=target, payload=b"my xxxxxx word", checksums="right")
    expect(witness).none(contains=b"secret")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")


@pytest.mark.rule("W261", "W268")
def test_a_modified_inbound_datagram_arrives_modified(driver, conversation, witness, trace, fence, family):
    """A payload that the callout replaces on its way in reaches the guest's socket replaced."""
    socket, station = conversation
    guest = family.end(family.guest, 5353)
    driver.replace("udp", layer="INBOUND_TRANSPORT", local=guest, pattern=b"virus", replacement=b".....")

    station.send_to(family.guest, 5353, b"a virus here")
    data, _ = socket.receive_from()
    fence()

    expect(data).equals(b"a ..... here")
    expect(witness).one(direction="to-guest", payload=b"a virus here")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")


@pytest.mark.rule("W248", "W272")
def test_a_rewritten_address_goes_to_the_other_station(driver, probe, stations, witness, trace, fence, family):
    """A datagram whose destination the callout rewrites reaches the other station, with right checksums."""
    meant = stations.add(family.host).udp(53)
    instead = stations.add(family.other_host).udp(5300)
    target = family.end(family.other_host, 5300)
    driver.rewrite("udp", layer="OUTBOUND_IPPACKET", remote=family.host, to=target)

    probe.udp_open(family.end(family.guest, 5353)).send_to(family.end(family.host, 53), b"elsewhere")
    received = instead.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"elsewhere")
    expect(len(meant.received)).equals(0)
    expect(witness).none(dst=family.host)
    expect(witness).one(dst=target, checksums="right")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.PacketInjection.NoDeadlocks")
@pytest.mark.rule("W255", "W257", "W258")
def test_the_drivers_own_packet_is_recognised(driver, probe, stations, witness, trace, fence):
    """A packet that the driver injected is classified again, recognised as its own, and not injected again."""
    server = stations.add(STATION).udp(53)
    driver.reinject("udp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:53")

    probe.udp_open().send_to(f"{STATION}:53", b"once")
    server.receive(Deadline(10))
    fence()

    expect(trace).one(kind="inject")
    expect(trace).some(kind="self", injection_state="injected-by-self")
    # The inject event is written when the call has returned, by when the packet may have been classified already.
    expect(trace).in_order({"kind": "classify", "action": "block"}, {"kind": "self"})
    expect(witness).one(dst=f"{STATION}:53", payload=b"once")


@pytest.mark.rule("W115")
def test_injection_stops_when_the_rule_goes(driver, probe, stations, witness, trace, fence):
    """After its rule is removed a datagram passes without being injected."""
    server = stations.add(STATION).udp(53)
    rule = driver.reinject("udp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:53")
    socket = probe.udp_open()
    socket.send_to(f"{STATION}:53", b"first")
    server.receive(Deadline(10))
    rule.remove()

    socket.send_to(f"{STATION}:53", b"second")
    received = server.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"second")
    expect(witness).one(dst=f"{STATION}:53", payload=b"second")
    expect(trace).one(kind="inject")
