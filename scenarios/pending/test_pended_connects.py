"""Connects, accepts and datagrams that the driver puts off, and how they end."""

from __future__ import annotations

import pytest

from harness.driver.interface import Action, RuleFlag
from harness.expect import expect
from harness.waiting import Deadline

STATION = "198.51.100.5"
MEANT = f"{STATION}:80"
DNS = f"{STATION}:53"
GUEST = "192.0.2.2"
IS_REAUTHORIZE = 0x4
COMPLETED = {"kind": "classify", "reauthorized": "classify-completion"}


@pytest.mark.rule("W174", "W178", "W179", "W182")
def test_a_pended_connect_opens_once_it_is_permitted(driver, probe, stations, witness, trace, fence):
    """A connect that the callout pends sends nothing until it is completed; permitted, it opens and carries data."""
    stations.add(STATION).tcp_listen(80, echo=True)
    rule = driver.pend("tcp", remote=MEANT)

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    pended = rule.pended()
    fence()
    expect(witness).none(dst=MEANT)
    expect(connecting.is_done).equals(False)
    pended.complete(permit=True)
    client = connecting.result()
    client.send(b"at last")
    echoed = client.receive(7, exact=True)
    fence()

    expect(echoed).equals(b"at last")
    expect(witness).some(dst=MEANT, flags="S", checksums="right")
    expect(trace).one(kind="pend", status="STATUS_SUCCESS", layer="ALE_AUTH_CONNECT_V4")
    expect(trace).one(**COMPLETED, action="permit", condition_flags=lambda flags: flags & IS_REAUTHORIZE)
    expect(trace).in_order({"kind": "pend"}, {"kind": "complete"}, COMPLETED)


@pytest.mark.rule("W178", "W179")
def test_a_pended_connect_fails_once_it_is_blocked(driver, probe, stations, witness, trace, fence):
    """A pended connect that is blocked when it is completed fails in the guest, and its station hears nothing of it."""
    server = stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", remote=MEANT)

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    rule.pended().complete(permit=False)
    client = connecting.result()
    fence()

    expect(client).failed()
    expect(len(server.connections)).equals(0)
    expect(witness).none(dst=MEANT)
    expect(trace).one(**COMPLETED, action="block")


@pytest.mark.rule("W164", "W166", "W167")
def test_a_pended_connect_is_redirected_when_it_is_completed(driver, probe, witness, trace, fence):
    """A connect pended at the redirect layer waits, and reaches the local proxy that it is redirected to later."""
    proxy = probe.tcp_listen("127.0.0.1:8080")
    rule = driver.pend("tcp", layer="ALE_CONNECT_REDIRECT", remote=MEANT)

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    pended = rule.pended()
    fence()
    expect(proxy).nothing()
    pended.complete(redirect=proxy)
    client = connecting.result()
    fence()

    expect(client).connected()
    expect(proxy).accepted(count=1)
    expect(witness).none(dst=STATION, flags="S")
    expect(trace).one(kind="pend", status="STATUS_SUCCESS", layer="ALE_CONNECT_REDIRECT_V4")
    expect(trace).one(kind="redirect", status="STATUS_SUCCESS", redirected_to=proxy)


@pytest.mark.rule("W167")
@pytest.mark.parametrize("permit", [pytest.param(True, id="permit"), pytest.param(False, id="block")])
def test_the_answer_to_a_pended_classify_is_final(driver, probe, stations, witness, trace, fence, permit):
    """What a completed classify at the redirect layer is answered with decides the connect; nobody is asked again."""
    stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", layer="ALE_CONNECT_REDIRECT", remote=MEANT)

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    rule.pended().complete(permit=permit)
    client = connecting.result()
    fence()

    expect(trace).one(kind="classify", layer="ALE_CONNECT_REDIRECT_V4")
    if permit:
        expect(client).connected()
        expect(witness).some(dst=MEANT, flags="S")
    else:
        expect(client).failed()
        expect(witness).none(dst=MEANT)


@pytest.mark.rule("W167")
def test_a_classify_completed_without_an_answer_is_classified_again(driver, probe, stations, witness, trace, fence):
    """FwpsCompleteClassify0 without a classifyOut has the callout asked again, and its second answer counts."""
    stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", layer="ALE_CONNECT_REDIRECT", remote=MEANT)

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    rule.pended().complete(again=True)
    rule.pended().complete(permit=True)
    client = connecting.result()
    fence()

    expect(client).connected()
    expect(trace).count(2, kind="classify", layer="ALE_CONNECT_REDIRECT_V4")
    expect(witness).some(dst=MEANT, flags="S")


@pytest.mark.rule("W164")
def test_a_classify_at_auth_connect_cannot_be_pended(driver, probe, stations, witness, trace, fence):
    """FwpsPendClassify0 at ALE_AUTH_CONNECT is refused with STATUS_FWP_CANNOT_PEND, and the connect is not harmed."""
    stations.add(STATION).tcp_listen(80)
    driver.add_rule("ALE_AUTH_CONNECT", Action.PEND_CLASSIFY, "tcp", remote=MEANT)

    client = probe.tcp_connect(MEANT)
    fence()

    expect(client).connected()
    expect(trace).one(kind="pend", status="STATUS_FWP_CANNOT_PEND")
    expect(witness).some(dst=MEANT, flags="S")


@pytest.mark.rule("W175", "W178", "W180")
def test_a_pended_accept_opens_once_its_packet_is_injected(driver, probe, stations, witness, trace, fence):
    """A SYN that is pended at ALE_AUTH_RECV_ACCEPT gets no answer until it is completed and injected again."""
    server = probe.tcp_listen(f"{GUEST}:7000", mode="echo")
    rule = driver.pend("tcp", layer="ALE_AUTH_RECV_ACCEPT", local=f"{GUEST}:7000")

    peer = stations.add(STATION).tcp_connect(GUEST, 7000)
    pended = rule.pended()
    fence()
    expect(witness).none(src=f"{GUEST}:7000", flags="SA")
    pended.complete(permit=True)
    peer.wait_established(Deadline(20))
    peer.send(b"knock")
    answer = peer.receive(5, Deadline(20))
    fence()

    expect(answer).equals(b"knock")
    expect(server.accepted).equals(1)
    expect(trace).one(kind="pend", status="STATUS_SUCCESS", layer="ALE_AUTH_RECV_ACCEPT_V4")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")
    expect(trace).some(kind="self", layer="ALE_AUTH_RECV_ACCEPT_V4", injection_state="injected-by-self")


@pytest.mark.rule("W178", "W181")
def test_the_first_datagram_of_a_pended_flow_arrives_once(driver, probe, stations, witness, trace, fence):
    """The first datagram of a pended flow is flushed; the clone that the driver kept leaves after the permit, once."""
    server = stations.add(STATION).udp(53)
    rule = driver.pend("udp", remote=DNS)

    probe.udp_open().send_to(DNS, b"first question")
    pended = rule.pended()
    fence()
    expect(witness).none(dst=DNS)
    pended.complete(permit=True)
    received = server.receive(Deadline(20))
    fence()

    expect(received.payload).equals(b"first question")
    expect(witness).one(dst=DNS, checksums="right")
    expect(trace).one(**COMPLETED, action="permit")
    expect(trace).one(kind="inject", status="STATUS_SUCCESS")


@pytest.mark.rule("W178", "W181")
def test_a_blocked_datagram_never_leaves(driver, probe, stations, witness, trace, fence):
    """The datagram of a flow that is blocked when it is completed is dropped with it."""
    stations.add(STATION).udp(53)
    rule = driver.pend("udp", remote=DNS)

    probe.udp_open().send_to(DNS, b"first question")
    rule.pended().complete(permit=False)
    fence()

    expect(witness).none(dst=DNS)
    expect(trace).one(**COMPLETED, action="block")
    expect(trace).none(kind="inject")


@pytest.mark.rule("W176")
def test_a_reauthorization_cannot_be_pended(driver, probe, stations, witness, trace, fence):
    """FwpsPendOperation0 in the reauthorization that follows a completion is refused with STATUS_FWP_CANNOT_PEND."""
    stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", remote=MEANT, flags=[RuleFlag.PEND_REAUTHORIZE])

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    rule.pended().complete(permit=True)
    client = connecting.result()
    fence()

    expect(client).connected()
    expect(trace).in_order(
        {"kind": "pend", "status": "STATUS_SUCCESS"}, {"kind": "pend", "status": "STATUS_FWP_CANNOT_PEND"}
    )
    expect(witness).some(dst=MEANT, flags="S")


@pytest.mark.rule("W176", "W179")
def test_two_callouts_each_put_a_part_of_one_connect_off(driver, probe, stations, witness, trace, fence):
    """One connect is put off at the redirect layer, completed, put off at ALE_AUTH_CONNECT, and opens after both."""
    stations.add(STATION).tcp_listen(80)
    first = driver.pend("tcp", layer="ALE_CONNECT_REDIRECT", remote=MEANT)
    second = driver.pend("tcp", remote=MEANT)

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    first.pended().complete(permit=True)
    pended = second.pended()
    fence()
    expect(witness).none(dst=MEANT, flags="S")
    pended.complete(permit=True)
    client = connecting.result()
    fence()

    expect(client).connected()
    expect(trace).in_order(
        {"kind": "pend", "layer": "ALE_CONNECT_REDIRECT_V4"},
        {"kind": "pend", "layer": "ALE_AUTH_CONNECT_V4"},
        COMPLETED,
    )
    expect(witness).some(dst=MEANT, flags="S")


@pytest.mark.rule("W179")
@pytest.mark.parametrize(
    "flag", [pytest.param(RuleFlag.PEND_AT_ONCE, id="work-item"), pytest.param(RuleFlag.HOLD, id="drain")]
)
def test_the_driver_completes_by_itself(driver, probe, stations, trace, fence, flag):
    """A connect that the driver completes from its work item, or at a drain, opens without being asked for."""
    stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", remote=MEANT, flags=[flag])

    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    if flag is RuleFlag.HOLD:
        rule.pended()
        fence()
    client = connecting.result()
    fence()

    expect(client).connected()
    expect(trace).one(kind="complete", action="permit")
    expect(driver.stats()["pended"]).equals(0)


@pytest.mark.rule("W179", "W183")
def test_what_is_put_off_ends_with_its_rule(driver, probe, stations, witness, trace, fence):
    """Removing the rule completes what it has put off, each connect once, and they open."""
    stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", remote=MEANT)
    connecting = [probe.start_tcp_connect(MEANT, seconds=30) for _ in range(3)]
    rule.pended()
    fence()

    rule.remove()
    clients = [each.result() for each in connecting]
    fence()

    for client in clients:
        expect(client).connected()
    expect(trace).count(3, kind="complete", action="permit")
    expect(driver.stats()["pended"]).equals(0)
    expect(witness).some(dst=MEANT, flags="S")


@pytest.mark.rule("W183", "W015")
def test_a_driver_that_goes_leaves_nothing_put_off(driver, service, probe, stations, witness, fence):
    """A connect that nobody completes is blocked when the driver is unloaded, and the driver goes."""
    server = stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", remote=MEANT)
    connecting = probe.start_tcp_connect(MEANT, seconds=30)
    rule.pended()
    fence()
    probe.request("drv_close")

    service.stop()
    client = connecting.result()
    after = probe.tcp_connect(MEANT)
    server.wait_for_connection(Deadline(20))
    service.start()

    expect(client).failed()
    expect(after).connected()
    expect(driver.stats()["pended"]).equals(0)
    expect(witness).some(dst=MEANT, flags="S")
