"""Packets that the guest forwards from one test NIC to the other, and callouts on their way."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.link import Impairment
from harness.waiting import Deadline

NEAR, FAR = "198.51.100.5", "203.0.113.5"
LAYER = "IPFORWARD_V4"
TIME_TO_LIVE = 14 + 8  # in a frame


@pytest.fixture
def sockets(stations, far):
    """A UDP socket on either side of the guest."""
    return stations.add(NEAR).udp(5353), far.stations.add(FAR).udp(7000)


@pytest.mark.rule("W231")
def test_a_datagram_is_forwarded_and_classified(driver, sockets, witness, far, trace, fence):
    """A datagram that the guest forwards is classified at IPFORWARD and leaves by the other NIC, one hop older."""
    near, beyond = sockets
    driver.inspect("udp", layer=LAYER, local=NEAR, remote=FAR)

    near.send_to(FAR, 7000, b"over there")
    received = beyond.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"over there")
    expect(received.source).equals(NEAR)
    expect(trace).one(kind="classify", layer=LAYER, local=f"{NEAR}:5353", remote=f"{FAR}:7000")
    expect(far.witness).one(dst=f"{FAR}:7000", payload=b"over there", checksums="right")
    (came,) = witness.select(dst=FAR)
    (went,) = far.witness.select(dst=FAR)
    assert went.raw[TIME_TO_LIVE] == came.raw[TIME_TO_LIVE] - 1


def test_a_conversation_goes_through_the_guest(driver, stations, far, trace, fence):
    """A TCP connection between hosts on both sides is carried both ways, and no ALE layer hears of it."""
    server = far.stations.add(FAR).tcp_listen(80, echo=True)
    driver.inspect("tcp", layer=LAYER, remote=FAR)
    driver.permit("tcp", layer="ALE_AUTH_RECV_ACCEPT_V4")

    client = stations.add(NEAR).tcp_connect(FAR, 80, Deadline(10))
    client.send(b"hello there")
    answer = client.receive(11, Deadline(10))
    fence()

    expect(answer).equals(b"hello there")
    assert server.wait_for_connection(Deadline(10)).received == b"hello there"
    expect(trace).some(kind="classify", layer=LAYER, remote=f"{FAR}:80")
    expect(trace).none(kind="classify", layer="ALE_AUTH_RECV_ACCEPT_V4")


def test_a_blocked_datagram_is_not_forwarded(driver, sockets, witness, far, trace, fence):
    """What a callout blocks at IPFORWARD does not leave; what it does not match does."""
    near, beyond = sockets
    driver.block("udp", layer=LAYER, remote=f"{FAR}:7000")

    near.send_to(FAR, 7000, b"not this")
    near.send_to(FAR, 7001, b"but this")
    fence()

    expect(witness).count(2, dst=FAR)
    expect(far.witness).none(dst=f"{FAR}:7000")
    expect(far.witness).one(dst=f"{FAR}:7001", payload=b"but this")
    expect(trace).one(kind="classify", layer=LAYER, action="block", remote=f"{FAR}:7000")
    assert beyond.received == []


@pytest.mark.rule("W248", "W259")
def test_a_datagram_is_taken_out_and_injected_into_the_forward_path(driver, sockets, far, trace, fence):
    """A datagram that is cloned and swallowed at IPFORWARD and injected there leaves once and is not seen again."""
    near, beyond = sockets
    driver.reinject("udp", layer=LAYER, remote=f"{FAR}:7000")

    near.send_to(FAR, 7000, b"again")
    received = beyond.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"again")
    expect(far.witness).one(dst=f"{FAR}:7000", payload=b"again", checksums="right")
    expect(trace).one(kind="classify", layer=LAYER, action="block")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")
    expect(trace).none(kind="self")


def test_what_comes_back_is_forwarded_as_well(driver, sockets, witness, far, trace, fence):
    """A datagram from behind the second NIC leaves by the first one, taken out and injected on its way."""
    near, beyond = sockets
    near.send_to(FAR, 7000, b"question")
    question = beyond.receive(Deadline(10))
    driver.reinject("udp", layer=LAYER, local=FAR, remote=NEAR)

    beyond.send_to(question.source, question.source_port, b"answer")
    received = near.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"answer")
    expect(witness).one(direction="from-guest", dst=f"{NEAR}:5353", payload=b"answer", checksums="right")
    expect(far.witness).count(1, direction="to-guest", dst=NEAR)
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")


def test_a_datagram_that_is_lost_behind_the_guest_was_forwarded(driver, sockets, far, trace, fence):
    """The second link loses a datagram that the guest forwarded, and carries the next one."""
    near, beyond = sockets
    driver.inspect("udp", layer=LAYER, remote=FAR)
    wire = far.impair.both(from_guest=Impairment(of=("udp",), lose=(1,))).from_guest

    near.send_to(FAR, 7000, b"lost")
    near.send_to(FAR, 7000, b"found")
    received = beyond.receive(Deadline(10))
    fence()

    expect(received.payload).equals(b"found")
    assert wire.counters.lost == 1
    expect(far.witness).one(payload=b"lost", lost=True)
    expect(trace).count(2, kind="classify", layer=LAYER, remote=f"{FAR}:7000")
