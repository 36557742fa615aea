"""What callouts at the stream layer may ask for besides edits, and what the engine refuses them."""

from __future__ import annotations

import pytest

from harness.driver.interface import StreamDirection
from harness.expect import expect
from harness.waiting import Deadline

SERVER = "198.51.100.5:80"


@pytest.fixture
def pair(probe, server):
    """Both ends of a connection."""
    client = probe.tcp_connect(SERVER).require()
    return client, server.wait_for_connection(Deadline(10))


@pytest.mark.rule("W290", "W291")
def test_an_allowed_connection_is_not_classified_again(driver, pair, trace, fence):
    """After ALLOW_CONNECTION both directions pass, and the callout is not asked again."""
    client, connection = pair
    driver.stream_allow(remote=SERVER)

    for word in (b"one", b"two", b"three"):
        client.send(word)
        expect(connection.receive(len(word), Deadline(10))).equals(word)
        connection.send(word)
        expect(client.receive(len(word), exact=True)).equals(word)
    fence()

    expect(trace).one(kind="classify", layer="STREAM_V4")


@pytest.mark.rule("W298")
@pytest.mark.parametrize("slot", [0, 1], ids=["allowed", "not-allowed"])
def test_an_older_flow_is_shown_to_who_may_begin_in_the_middle(driver, pair, trace, fence, slot):
    """A flow that is older than the rule is edited by the callout that allows it, and passes the other one by."""
    client, connection = pair
    client.send(b"before")
    expect(connection.receive(6, Deadline(10))).equals(b"before")
    driver.stream_replace(b"after", b"AFTERWARDS", remote=SERVER, slot=slot)

    client.send(b"after")
    client.shutdown()
    read = connection.receive_all(Deadline(10))
    fence()

    expect(read).equals(b"after" if slot else b"AFTERWARDS")
    if slot:
        expect(trace).none(kind="classify", layer="STREAM_V4")
    else:
        expect(trace).some(kind="classify", layer="STREAM_V4")


@pytest.mark.rule("W296", "W299")
def test_a_rule_that_goes_leaves_the_stream_whole(driver, pair, trace, fence):
    """When a rule that injects out of band is taken away, nothing of the stream is lost or overtaken."""
    client, connection = pair
    rule = driver.stream_reinject(remote=SERVER, direction=StreamDirection.OUT)

    client.send(b"out of band, ")
    rule.remove()
    client.send(b"and inline")
    read = connection.receive(23, Deadline(10))
    fence()

    expect(read).equals(b"out of band, and inline")
    expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")


def test_what_no_rule_is_for_goes_by_untouched(driver, probe, stations, server, witness, trace, fence):
    """A connection to another port keeps its segments as they are while a stream rule is at work beside it."""
    driver.stream_replace(b"text", b"another text", remote=SERVER)
    echo = stations.add("198.51.100.6").tcp_listen(7, echo=True)

    client = probe.tcp_connect("198.51.100.6:7").require()
    client.send(b"plain text")
    echoed = client.receive(10, exact=True)
    fence()

    expect(echoed).equals(b"plain text")
    expect(len(echo.connections)).equals(1)
    expect(witness).one(dst="198.51.100.6:7", payload=b"plain text", checksums="right")
    expect(trace).none(kind="classify", layer="STREAM_V4")
    expect(server.connections).equals([])
