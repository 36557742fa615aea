"""How several callouts at one layer come to one decision."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.driver.interface import Action, FilterAction
from harness.expect import expect

STATION = "198.51.100.5"
SERVER = f"{STATION}:80"
CASES = tomllib.loads((Path(__file__).parent / "arbitration.toml").read_text())["case"]


@pytest.fixture
def server(stations):
    """A station that listens at the address all connects go to."""
    return stations.add(STATION).tcp_listen(80)


@pytest.mark.rule("W090", "W094", "W096", "W099", "W100", "W103")
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case["id"], marks=pytest.mark.misuse(*case.get("misuse", []))) for case in CASES],
)
def test_two_sublayers_arbitrate_as_documented(driver, probe, server, witness, trace, fence, case):
    """Two callouts in two sublayers decide on a connect as the documents say."""
    heavy = driver.add_rule("ALE_AUTH_CONNECT", Action[case["a"]], "tcp", remote=SERVER, slot=0)
    driver.add_rule("ALE_AUTH_CONNECT", Action[case["b"]], "tcp", remote=SERVER, slot=1)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(trace).one(kind="classify", rule=heavy.id)
    if case["connects"]:
        expect(client).connected()
        expect(witness).one(dst=SERVER, flags="S", retransmission=False)
    else:
        expect(client).failed()
        expect(witness).none(dst=SERVER)


@pytest.mark.rule("W091")
def test_the_heaviest_filter_of_a_sublayer_decides(driver, probe, server, witness, trace, fence):
    """Once a filter of a sublayer has permitted, its lighter ones are skipped."""
    heavy = driver.permit("tcp", remote=SERVER, weight=12)
    light = driver.block("tcp", remote=SERVER, weight=4)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).connected()
    expect(witness).one(dst=SERVER, flags="S", retransmission=False)
    expect(trace).one(kind="classify", rule=heavy.id, action="permit")
    expect(trace).none(kind="classify", rule=light.id)


@pytest.mark.rule("W092", "W106")
def test_continue_passes_on_to_the_next_filter(driver, probe, server, witness, trace, fence):
    """A callout of unknown kind that answers CONTINUE leaves the decision to the next filter of the sublayer."""
    heavy = driver.inspect(
        "tcp", layer="ALE_AUTH_CONNECT", remote=SERVER, weight=12, filter_action=FilterAction.UNKNOWN
    )
    light = driver.block("tcp", remote=SERVER, weight=4)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).failed()
    expect(witness).none(dst=SERVER)
    expect(trace).in_order({"kind": "classify", "rule": heavy.id}, {"kind": "classify", "rule": light.id})


@pytest.mark.rule("W105")
@pytest.mark.misuse("W105")
def test_a_terminating_callout_that_continues_blocks(driver, probe, server, witness, trace, fence):
    """CONTINUE from a callout of a terminating filter is treated as BLOCK."""
    driver.inspect("tcp", layer="ALE_AUTH_CONNECT", remote=SERVER, filter_action=FilterAction.TERMINATING)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).failed()
    expect(witness).none(dst=SERVER)
    expect(trace).one(kind="classify", action="continue")


@pytest.mark.rule("W104")
def test_an_inspection_callout_cannot_block(driver, probe, server, trace, fence):
    """Whatever a callout of an inspection filter returns, the connect goes on."""
    driver.block("tcp", remote=SERVER, filter_action=FilterAction.INSPECTION)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).connected()
    expect(trace).one(kind="classify", layer="ALE_AUTH_CONNECT_V4")


@pytest.mark.rule("W108", "W113")
def test_an_inbound_connection_is_blocked_at_recv_accept(driver, probe, stations, witness, trace, fence, family):
    """A connection that a callout blocks at ALE_AUTH_RECV_ACCEPT never reaches the guest's listener."""
    local = family.end(family.guest, 8080)
    listener = probe.tcp_listen(local)
    driver.block("tcp", layer="ALE_AUTH_RECV_ACCEPT", local=local)

    stations.add(family.host).tcp_connect(family.guest, 8080)
    fence()

    expect(listener).nothing()
    expect(witness).none(direction="from-guest", src=local, flags="SA")
    expect(trace).some(kind="classify", layer=family.layer("ALE_AUTH_RECV_ACCEPT"), action="block")
