"""Registering and adding callouts, and what filters do whose callout is not registered."""

from __future__ import annotations

from uuid import UUID

import pytest

from harness.expect import expect
from harness.wfp import constant

STATION = "198.51.100.5"
SERVER = f"{STATION}:80"
KEY = UUID("5b0d1c0e-3b86-4f4e-9a58-6a0d4a1f0001")
LAYER = "ALE_AUTH_CONNECT_V4"


@pytest.fixture
def server(stations):
    """A station that listens at the address all connects go to."""
    return stations.add(STATION).tcp_listen(80)


@pytest.mark.rule("W007")
def test_a_terminating_filter_without_its_callout_blocks(driver, probe, server, witness, fence):
    """A terminating filter whose callout was added but not registered blocks what it matches."""
    driver.lab.callout_add(KEY, LAYER)
    driver.lab.filter_add(LAYER, "CALLOUT_TERMINATING", callout=KEY, protocol="tcp", remote=SERVER)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).failed()
    expect(witness).none(dst=SERVER)


@pytest.mark.rule("W008")
def test_an_inspection_filter_without_its_callout_is_ignored(driver, probe, server, witness, fence):
    """An inspection filter whose callout was added but not registered changes nothing."""
    driver.lab.callout_add(KEY, LAYER)
    driver.lab.filter_add(LAYER, "CALLOUT_INSPECTION", callout=KEY, protocol="tcp", remote=SERVER)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).connected()
    expect(witness).one(dst=SERVER, flags="S", retransmission=False)


@pytest.mark.rule("W009")
def test_a_filter_may_permit_while_its_callout_is_missing(driver, probe, server, witness, fence):
    """With PERMIT_IF_CALLOUT_UNREGISTERED a terminating filter lets pass until its callout is there."""
    flag = constant("FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED")
    driver.lab.callout_add(KEY, LAYER)
    driver.lab.filter_add(LAYER, "CALLOUT_TERMINATING", callout=KEY, protocol="tcp", remote=SERVER, flags=flag)

    client = probe.tcp_connect(SERVER)
    fence()

    expect(client).connected()
    expect(witness).one(dst=SERVER, flags="S", retransmission=False)


@pytest.mark.rule("W011")
def test_a_filter_blocks_after_its_callout_was_unregistered(driver, probe, server, witness, trace, fence):
    """Unregistering a callout whose terminating filter lives on makes that filter block."""
    driver.lab.callout_register(KEY)
    driver.lab.callout_add(KEY, LAYER)
    driver.lab.filter_add(LAYER, "CALLOUT_TERMINATING", callout=KEY, protocol="tcp", remote=SERVER)
    first = probe.tcp_connect(SERVER)
    driver.lab.callout_unregister(KEY)

    second = probe.tcp_connect(SERVER)
    fence()

    expect(first).connected()
    expect(second).failed()
    expect(witness).one(dst=SERVER, flags="S", retransmission=False)
    expect(trace).one(kind="lab-classify")


@pytest.mark.rule("W002", "W013")
def test_a_key_is_registered_once(driver, trace, fence):
    """Registering a key twice gives STATUS_FWP_ALREADY_EXISTS; unregistering it twice finds nothing."""
    results = [driver.lab.callout_register(KEY), driver.lab.callout_register(KEY)]
    results += [driver.lab.callout_unregister(KEY), driver.lab.callout_unregister(KEY)]
    fence()

    expect(" ".join(result.name for result in results)).equals(
        "STATUS_SUCCESS STATUS_FWP_ALREADY_EXISTS STATUS_SUCCESS STATUS_FWP_CALLOUT_NOT_FOUND"
    )
    expect(trace).count(4, kind="lab")


@pytest.mark.rule("W028", "W032")
def test_a_key_is_added_once(driver, trace, fence):
    """Adding the same callout key twice gives STATUS_FWP_ALREADY_EXISTS."""
    first = driver.lab.callout_add(KEY, LAYER)
    second = driver.lab.callout_add(KEY, LAYER)
    fence()

    expect(first.name).equals("STATUS_SUCCESS")
    expect(second.name).equals("STATUS_FWP_ALREADY_EXISTS")
    expect(trace).one(kind="lab", status="STATUS_FWP_ALREADY_EXISTS")


@pytest.mark.rule("W003")
@pytest.mark.parametrize("first", ["register", "add"])
def test_registering_and_adding_give_one_id_in_either_order(driver, first):
    """Registering and adding a callout, in either order, give the same run-time id."""
    calls = [lambda: driver.lab.callout_register(KEY), lambda: driver.lab.callout_add(KEY, LAYER)]
    results = [call() for call in (calls if first == "register" else reversed(calls))]

    expect(results[0].name).equals("STATUS_SUCCESS")
    expect(results[1].name).equals("STATUS_SUCCESS")
    expect(results[0].value).equals(results[1].value)


@pytest.mark.rule("W032", "W033")
def test_filters_and_callouts_hold_on_to_each_other(driver):
    """A filter needs its callout to be added, and a callout that a filter names cannot be deleted."""
    too_early = driver.lab.filter_add(LAYER, "CALLOUT_TERMINATING", callout=KEY, protocol="tcp", remote=SERVER)
    driver.lab.callout_add(KEY, LAYER)
    added = driver.lab.filter_add(LAYER, "CALLOUT_TERMINATING", callout=KEY, protocol="tcp", remote=SERVER)
    in_use = driver.lab.callout_delete(KEY)
    driver.lab.filter_delete(added.value)
    deleted = driver.lab.callout_delete(KEY)

    expect(too_early.name).equals("STATUS_FWP_CALLOUT_NOT_FOUND")
    expect(added.name).equals("STATUS_SUCCESS")
    expect(in_use.name).equals("STATUS_FWP_IN_USE")
    expect(deleted.name).equals("STATUS_SUCCESS")


@pytest.mark.rule("W059", "W060", "W062")
def test_a_filter_acts_from_its_commit_on(driver, probe, server, witness, fence):
    """A blocking filter of a transaction that is aborted never acts, one that is committed does."""
    driver.lab.transaction_begin()
    driver.lab.filter_add(LAYER, "BLOCK", protocol="tcp", remote=SERVER)
    driver.lab.transaction_abort()
    after_abort = probe.tcp_connect(SERVER)
    driver.lab.transaction_begin()
    driver.lab.filter_add(LAYER, "BLOCK", protocol="tcp", remote=SERVER)
    driver.lab.transaction_commit()
    after_commit = probe.tcp_connect(SERVER)
    again = driver.lab.transaction_commit()
    fence()

    expect(after_abort).connected()
    expect(after_commit).failed()
    expect(witness).one(dst=SERVER, flags="S", retransmission=False)
    expect(again.name).equals("STATUS_FWP_NO_TXN_IN_PROGRESS")
