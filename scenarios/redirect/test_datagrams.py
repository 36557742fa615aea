"""UDP through a proxy: redirect records come and go as control messages."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.waiting import Deadline


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.ConnectionProxying.NoDeadlocks")
@pytest.mark.rule("W154")
def test_the_first_datagram_of_a_flow_brings_its_redirect_records(
    driver, probe, stations, witness, trace, fence, family
):
    """A UDP proxy gets redirect records and context with a flow's first datagram; sent on, they let its own through."""
    meant = family.end(family.host, 53)
    anywhere = "[::]:0" if family.version == 6 else "0.0.0.0:0"
    server = stations.add(family.host).udp(53)
    proxy = probe.udp_open(family.end(family.loopback, 8080))
    driver.redirect("udp", remote=meant, to=proxy)

    client = probe.udp_open(anywhere)
    client.send_to(meant, b"question")
    first = proxy.receive_message()
    client.send_to(meant, b"another")
    second = proxy.receive_message()
    probe.udp_open(anywhere).send_message(meant, first.data, records=first.records)
    arrived = server.receive(Deadline(20))
    fence()

    expect(first.data).equals(b"question")
    expect(bool(first.records) and bool(first.context)).equals(True)
    expect(second.data).equals(b"another")
    expect(second.records + second.context).equals(b"")
    expect(arrived.payload).equals(b"question")
    expect(witness).one(dst=meant, checksums="right")
    expect(trace).one(kind="redirect")
    expect(trace).some(kind="self", redirect_state="redirected-by-self")


@pytest.mark.rule("W153")
def test_a_proxy_without_records_meets_itself(driver, probe, stations, witness, trace, fence, family):
    """A proxy that sets no redirect records is not known: its own connect is redirected to it once more."""
    meant = family.end(family.host, 80)
    stations.add(family.host).tcp_listen(80)
    proxy = probe.tcp_listen(family.end(family.loopback, 8080))
    driver.redirect("tcp", remote=meant, to=proxy)

    probe.tcp_connect(meant).require()
    onward = probe.tcp_connect(meant)
    fence()

    expect(onward).connected()
    expect(proxy).accepted(count=2)
    expect(witness).none(dst=family.host)
    expect(trace).count(2, kind="redirect", redirect_state="not-redirected")
