"""Redirection of outgoing connects at ALE_CONNECT_REDIRECT."""

from __future__ import annotations

import pytest

from harness.driver.interface import RuleFlag
from harness.expect import expect
from harness.waiting import Deadline

MEANT = "198.51.100.5:80"
PROXY = "127.0.0.1:8080"
IS_CONNECTION_REDIRECTED = 0x100000


@pytest.mark.rule("W120", "W121", "W123", "W130", "W151")
def test_redirected_connect_never_reaches_the_wire(driver, probe, witness, trace, fence, family):
    """A TCP connect that the callout redirects reaches the local proxy, and its SYN never leaves the guest."""
    meant = family.end(family.host, 80)
    proxy = probe.tcp_listen(family.end(family.loopback, 8080))
    driver.redirect("tcp", remote=meant, to=proxy)

    client = probe.tcp_connect(meant)
    fence()

    expect(client).connected()
    expect(proxy).accepted(original_remote=meant)
    expect(witness).none(dst=family.host)
    expect(trace).one(kind="redirect", status="STATUS_SUCCESS", redirected_to=proxy)


@pytest.mark.rule("W120")
def test_data_flows_both_ways_through_a_redirection(driver, probe, witness, fence, family):
    """Bytes sent on a redirected connection reach the proxy, and its answer comes back to the client."""
    meant = family.end(family.host, 80)
    proxy = probe.tcp_listen(family.end(family.loopback, 8080))
    driver.redirect("tcp", remote=meant, to=proxy)

    client = probe.tcp_connect(meant)
    served = proxy.accept()
    client.send(b"question")
    question = served.receive(8, exact=True)
    served.send(b"answer")
    answer = client.receive(6, exact=True)
    fence()

    expect(question).equals(b"question")
    expect(answer).equals(b"answer")
    expect(witness).none(contains=b"question")


@pytest.mark.rule("W107", "W073")
def test_connects_that_match_no_rule_pass(driver, probe, stations, witness, trace, fence):
    """A connect to another port than the rule's goes to its station over the wire and is not redirected."""
    server = stations.add("198.51.100.5").tcp_listen(81, echo=True)
    proxy = probe.tcp_listen(PROXY)
    driver.redirect("tcp", remote=MEANT, to=proxy)

    client = probe.tcp_connect("198.51.100.5:81")
    client.send(b"straight on")
    echoed = client.receive(11, exact=True)
    fence()

    expect(echoed).equals(b"straight on")
    expect(len(server.connections)).equals(1)
    expect(proxy).nothing()
    expect(witness).one(dst="198.51.100.5:81", flags="S", retransmission=False)
    expect(trace).none(kind="redirect")


@pytest.mark.rule("W135", "W142")
def test_redirect_to_a_remote_station(driver, probe, stations, witness, trace, fence, family):
    """A connect redirected to another station opens there, and the station it was meant for hears nothing."""
    meant = stations.add(family.host).tcp_listen(80)
    instead = stations.add(family.other_host).tcp_listen(8000)
    target = family.end(family.other_host, 8000)
    driver.redirect("tcp", remote=family.end(family.host, 80), to=target)

    client = probe.tcp_connect(family.end(family.host, 80))
    client.send(b"hello")
    received = instead.wait_for_connection(Deadline(10)).receive(5, Deadline(10))
    fence()

    expect(received).equals(b"hello")
    expect(len(meant.connections)).equals(0)
    expect(witness).none(dst=family.host)
    expect(witness).one(dst=target, flags="S", retransmission=False, checksums="right")
    expect(trace).one(kind="redirect", redirected_to=target)


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.ConnectionProxying.NoDeadlocks")
@pytest.mark.rule("W122", "W124", "W152")
def test_the_proxys_own_connection_is_not_redirected_again(driver, probe, stations, witness, trace, fence, family):
    """A proxy that passes the redirect records on reaches the meant station: the driver knows its own redirection."""
    meant = family.end(family.host, 80)
    stations.add(family.host).tcp_listen(80, echo=True)
    proxy = probe.tcp_listen(family.end(family.loopback, 8080), mode="proxy")
    driver.redirect("tcp", remote=meant, to=proxy)

    client = probe.tcp_connect(meant)
    client.send(b"through the proxy")
    echoed = client.receive(17, exact=True)
    fence()

    expect(echoed).equals(b"through the proxy")
    expect(proxy.accepted).equals(1)
    expect(witness).one(dst=meant, flags="S", retransmission=False)
    expect(trace).one(kind="redirect")
    expect(trace).some(kind="self", redirect_state="redirected-by-self")


@pytest.mark.rule("W115")
def test_redirection_ends_when_the_rule_goes(driver, probe, stations, witness, trace, fence):
    """After its rule is removed a connect goes to the meant station."""
    server = stations.add("198.51.100.5").tcp_listen(80)
    proxy = probe.tcp_listen(PROXY)
    rule = driver.redirect("tcp", remote=MEANT, to=proxy)
    probe.tcp_connect(MEANT).require()
    rule.remove()

    second = probe.tcp_connect(MEANT)
    server.wait_for_connection(Deadline(10))
    fence()

    expect(second).connected()
    expect(proxy).accepted(count=1)
    expect(witness).one(dst=MEANT, flags="S", retransmission=False)
    expect(trace).one(kind="redirect")


@pytest.mark.rule("W056", "W015")
def test_redirection_ends_when_the_driver_goes(driver, service, probe, stations, witness):
    """Stopping the driver takes its dynamic session and its filters away: the next connect reaches its station."""
    server = stations.add("198.51.100.5").tcp_listen(80)
    proxy = probe.tcp_listen(PROXY)
    driver.redirect("tcp", remote=MEANT, to=proxy)
    probe.tcp_connect(MEANT).require()
    probe.request("drv_close")
    service.stop()

    client = probe.tcp_connect(MEANT)
    server.wait_for_connection(Deadline(10))
    stations.ping(Deadline(10))

    expect(client).connected()
    expect(proxy).accepted(count=1)
    expect(witness).one(dst=MEANT, flags="S", retransmission=False)


@pytest.mark.rule("W142", "W151")
def test_concurrent_connects_keep_their_own_targets(driver, probe, witness, trace, fence):
    """Eight connects at the same time, each with its own rule, arrive each at its own proxy."""
    meant = [f"198.51.100.{number}:80" for number in range(10, 18)]
    proxies = [probe.tcp_listen(f"127.0.0.1:{8100 + number}") for number in range(8)]
    for remote, proxy in zip(meant, proxies, strict=True):
        driver.redirect("tcp", remote=remote, to=proxy)

    clients = probe.tcp_connect_all(meant)
    fence()

    for client in clients:
        expect(client).connected()
    for remote, proxy in zip(meant, proxies, strict=True):
        expect(proxy).accepted(original_remote=remote)
    expect(trace).count(8, kind="redirect", status="STATUS_SUCCESS")
    expect(witness).none(proto="tcp")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.ConnectionProxying.NoDeadlocks")
@pytest.mark.rule("W120", "W121")
@pytest.mark.parametrize(
    "flag",
    [
        pytest.param(RuleFlag.NO_REDIRECT_HANDLE, id="no-redirect-handle", marks=pytest.mark.misuse("W120")),
        pytest.param(RuleFlag.NO_TARGET_PID, id="no-target-pid", marks=pytest.mark.misuse("W121")),
    ],
)
def test_an_incomplete_local_redirect_does_not_reach_the_proxy(driver, probe, trace, fence, flag, family):
    """A redirect to a local process without redirect handle or target process does not reach that process."""
    meant = family.end(family.host, 80)
    proxy = probe.tcp_listen(family.end(family.loopback, 8080))
    driver.redirect("tcp", remote=meant, to=proxy, flags=[flag])

    probe.tcp_connect(meant)
    fence()

    expect(proxy).nothing()
    expect(trace).some(layer=family.layer("ALE_CONNECT_REDIRECT"))


@pytest.mark.rule("W129", "W130")
def test_a_callout_that_forgets_to_permit_blocks_the_connect(driver, probe, witness, trace, fence):
    """Acquiring writable layer data sets BLOCK: a redirect that never sets PERMIT makes the connect fail."""
    proxy = probe.tcp_listen(PROXY)
    driver.redirect("tcp", remote=MEANT, to=proxy, flags=[RuleFlag.FORGET_PERMIT])

    client = probe.tcp_connect(MEANT)
    fence()

    expect(client).failed()
    expect(proxy).nothing()
    expect(witness).none(dst="198.51.100.5")
    expect(trace).some(layer="ALE_CONNECT_REDIRECT_V4", action="block")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.ConnectionProxying.NoDeadlocks")
@pytest.mark.rule("W143", "W145")
def test_auth_connect_is_told_of_the_redirection(driver, probe, trace, fence, family):
    """After a redirection ALE_AUTH_CONNECT is classified with the flag that says the connection was redirected."""
    meant = family.end(family.host, 80)
    proxy = probe.tcp_listen(family.end(family.loopback, 8080))
    driver.redirect("tcp", remote=meant, to=proxy)
    driver.inspect("tcp", layer="ALE_AUTH_CONNECT", family=family.version)

    client = probe.tcp_connect(meant)
    fence()

    expect(client).connected()
    expect(proxy).accepted(original_remote=meant)
    expect(trace).some(
        kind="classify",
        layer=family.layer("ALE_AUTH_CONNECT"),
        condition_flags=lambda flags: flags & IS_CONNECTION_REDIRECTED,
    )


@pytest.mark.rule("W120", "W133", "W143")
def test_redirect_to_an_address_of_the_guest(driver, probe, witness, trace, fence, family):
    """A connect redirected to a listener on the guest's own address reaches it without leaving the guest."""
    meant = family.end(family.host, 80)
    proxy = probe.tcp_listen(family.end(family.guest, 8080))
    driver.redirect("tcp", remote=meant, to=proxy)

    client = probe.tcp_connect(meant)
    client.send(b"question")
    question = proxy.accept().receive(8, exact=True)
    fence()

    expect(question).equals(b"question")
    expect(witness).none(proto="tcp")
    expect(trace).one(kind="redirect", layer=family.layer("ALE_CONNECT_REDIRECT"), redirected_to=proxy)


@pytest.mark.rule("W142")
def test_a_mapped_address_is_redirected_as_ipv4(driver, probe, witness, trace, fence):
    """A connect of an IPv6 socket to ::ffff:198.51.100.5 is IPv4: the rule at the V4 layer redirects it."""
    proxy = probe.tcp_listen(PROXY)
    driver.redirect("tcp", remote=MEANT, to=proxy)
    driver.inspect("tcp", layer="ALE_AUTH_CONNECT_V6")

    client = probe.tcp_connect("[::ffff:198.51.100.5]:80")
    fence()

    expect(client).connected()
    expect(proxy).accepted(original_remote=MEANT)
    expect(witness).none(proto="tcp")
    expect(trace).one(kind="redirect", layer="ALE_CONNECT_REDIRECT_V4")
    expect(trace).none(kind="classify", layer="ALE_AUTH_CONNECT_V6")
