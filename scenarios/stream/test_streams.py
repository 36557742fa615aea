"""What callouts at the stream layer may ask for besides edits, and what the engine refuses them."""

from __future__ import annotations

import pytest

from harness.driver.interface import FilterAction, RuleFlag, StreamDirection
from harness.expect import expect
from harness.guest import ProbeError
from harness.waiting import Deadline

SERVER = "198.51.100.5:80"


@pytest.fixture
def pair(probe, server):
    """Both ends of a connection."""
    client = probe.tcp_connect(SERVER).require()
    return client, server.wait_for_connection(Deadline(10))


@pytest.mark.rule("W288")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind, id=kind.name.lower(), marks=[] if kind is FilterAction.UNKNOWN else pytest.mark.misuse("W288")
        )
        for kind in FilterAction
    ],
)
def test_a_connection_is_dropped_by_an_unknown_filter_alone(driver, pair, trace, fence, kind):
    """DROP_CONNECTION resets both ends when the filter's action is CALLOUT_UNKNOWN; with the others it does nothing."""
    client, connection = pair
    driver.stream_drop(remote=SERVER, filter_action=kind)

    client.send(b"enough")
    if kind is FilterAction.UNKNOWN:
        connection.wait_closed(Deadline(10))
    else:
        read = connection.receive(6, Deadline(10))
        expect(read).equals(b"enough")
    fence()

    expect(trace).some(kind="classify", layer="STREAM_V4", stream_action="drop-connection")
    expect(connection.error).equals("reset" if kind is FilterAction.UNKNOWN else None)


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


@pytest.mark.rule("W289")
def test_a_deferred_stream_waits_until_it_is_continued(driver, pair, trace, fence):
    """What comes in on a deferred stream is not read before FwpsStreamContinue0, and all of it after."""
    client, connection = pair
    driver.stream_defer(remote=SERVER, flags=[RuleFlag.HOLD])
    text = bytes(range(256)) * 64

    connection.send(text)
    connection.flush(Deadline(10))
    client.send(b"the other way")
    expect(connection.receive(13, Deadline(10))).equals(b"the other way")
    driver.drain()
    read = client.receive(len(text), exact=True)
    fence()

    expect(read).equals(text)
    expect(trace).in_order(
        {"kind": "classify", "stream_action": "defer"},
        {"kind": "classify", "stream_flags": lambda flags: flags.startswith("SEND")},
        {"kind": "classify", "stream_action": "", "stream_flags": lambda flags: flags.startswith("RECEIVE")},
    )
    expect(trace).one(kind="inject", value=17, status="STATUS_SUCCESS")


@pytest.mark.rule("W281", "W292")
def test_two_callouts_edit_one_stream(driver, probe, server, trace, fence):
    """What the heavier callout makes of a stream is what the lighter one edits, and it hears of what it missed."""
    heavy = driver.stream_remove(0, 4, remote=SERVER, direction=StreamDirection.OUT, slot=0)
    light = driver.stream_replace(b"rest", b"best", remote=SERVER, direction=StreamDirection.OUT, slot=1)

    client = probe.tcp_connect(SERVER).require()
    connection = server.wait_for_connection(Deadline(10))
    client.send(b"takerest")
    read = connection.receive(4, Deadline(10))
    fence()

    expect(read).equals(b"best")
    expect(trace).some(kind="classify", rule=heavy.id, action="block", stream_enforced=4)
    expect(trace).some(kind="classify", rule=light.id, stream_missed=4, data_length=4)


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


@pytest.mark.rule("W293")
def test_a_reset_is_indicated_and_arrives(driver, pair, trace, fence):
    """A reset by the guest is indicated with SEND_ABORT, and reaches the station, behind what was inserted."""
    client, connection = pair
    driver.stream_insert(0, b"> ", remote=SERVER)

    client.send(b"text")
    expect(connection.receive(6, Deadline(10))).equals(b"> text")
    client.reset()
    connection.wait_closed(Deadline(10))
    fence()

    expect(connection.error).equals("reset")
    expect(trace).some(kind="classify", layer="STREAM_V4", stream_flags="SEND|SEND_ABORT")


@pytest.mark.rule("W198")
@pytest.mark.parametrize("edited", [True, False], ids=["edited", "untouched"])
def test_an_aborted_flow_is_reset_at_both_ends(driver, pair, trace, fence, edited):
    """FwpsFlowAbort0 resets both ends of a connection, also of one whose stream is being edited."""
    client, connection = pair
    if edited:
        driver.stream_insert(0, b"> ", remote=SERVER)
    else:
        driver.inspect("tcp", layer="OUTBOUND_TRANSPORT", remote=SERVER)
    client.send(b"text")
    expect(connection.receive(6 if edited else 4, Deadline(10))).equals(b"> text" if edited else b"text")
    fence()
    flow = trace.select("classify")[0].flow_id

    aborted = driver.lab.flow_abort(flow)
    connection.wait_closed(Deadline(10))
    fence()

    expect(aborted.name).equals("STATUS_SUCCESS")
    expect(connection.error).equals("reset")
    with pytest.raises(ProbeError):
        client.send(b"to nobody")
    expect(driver.lab.flow_abort(flow).ok).equals(False)


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
