"""What the guest's filter engine says that it holds, as it stands in wfp-state.xml of a scenario that fails."""

from __future__ import annotations

from ipaddress import IPv4Address
from uuid import UUID

import pytest

from harness.expect import expect
from harness.wfp import action_value, constant, guid, layer_guid

STATION = "198.51.100.5"
SERVER = f"{STATION}:80"
KEY = UUID("5b0d1c0e-3b86-4f4e-9a58-6a0d4a1f0041")
LAYER = "ALE_AUTH_CONNECT_V4"
REGISTERED = constant("FWPM_CALLOUT_FLAG_REGISTERED")


@pytest.mark.rule("W030")
def test_the_state_has_the_rule_of_the_driver(driver, probe, stations, witness, fence):
    """A driver's filter stands in the state with conditions and weight, its callout as registered; and it acts."""
    stations.add(STATION).tcp_listen(80)
    driver.block("tcp", remote=SERVER, weight=11)
    driver.lab.callout_add(KEY, LAYER)

    state = probe.wfp_state()
    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).failed()
    expect(witness).none(dst=SERVER)
    (rule,) = [each for each in state.filters if each.name == "wfpcallout rule"]
    assert rule.layer == layer_guid(LAYER)
    assert rule.action == action_value("CALLOUT_TERMINATING")
    assert rule.effective_weight.number >> 60 == 11
    values = {condition.field: condition.value.number for condition in rule.conditions}
    assert values[guid("FWPM_CONDITION_IP_REMOTE_ADDRESS")] == int(IPv4Address(STATION))
    assert values[guid("FWPM_CONDITION_IP_REMOTE_PORT")] == 80
    assert values[guid("FWPM_CONDITION_IP_PROTOCOL")] == 6

    callouts = {each.key: each for each in state.callouts}
    assert callouts[rule.callout].flags & REGISTERED
    assert not callouts[KEY].flags & REGISTERED, "nobody registered it"
    weights = {each.key: each.weight for each in state.sublayers}
    assert weights[rule.sublayer] == 0x7000
    assert rule.provider in {each.key for each in state.providers if each.name == "wfp-hil"}
    assert "wfpcallout" in {each.name for each in state.sessions if each.kernel}


def test_the_state_has_the_connect_that_is_put_off(driver, probe, stations, witness, fence):
    """Where the engine tells of its flows, a connect that a callout has put off stands among them, under its driver."""
    stations.add(STATION).tcp_listen(80)
    rule = driver.pend("tcp", remote=SERVER)
    connecting = probe.start_tcp_connect(SERVER)
    pended = rule.pended()

    state = probe.wfp_state()
    if state.flows is None:
        pytest.skip("the guest's engine does not tell of its flows and of whose code a callout is")
    (flow,) = [each for each in state.flows if each.remote_port == 80]
    (put_off,) = [each for each in state.filters if each.name == "wfpcallout rule"]
    driver_of = {each.key: each.module for each in state.registrations}
    assert flow.flags & 8, "it is put off"
    assert flow.remote.endswith("ffff" + IPv4Address(STATION).packed.hex())
    assert driver_of[put_off.callout] == "wfpcallout.sys"

    pended.complete(permit=True)
    expect(connecting.result()).connected()
    fence()
    expect(witness).one(dst=SERVER, flags="S", retransmission=False)
