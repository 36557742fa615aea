from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest

from harness.driver import interface
from harness.driver.control import DriverControl, RuleRefused
from harness.driver.interface import FilterAction, InjectPath, RuleFlag, split_endpoint
from harness.errors import UsageError
from harness.guest import ProbeError
from harness.wfp import layer_id, status_value

HEADER = Path(__file__).parents[2] / "drivers" / "include" / "wfpcallout_ioctl.h"


@pytest.fixture
def driver(fake):
    fake.answers["drv_add_rule"] = {"rule": 7, "status": 0}
    return DriverControl(fake.client)


@pytest.mark.parametrize(
    ("prefix", "enum"),
    [
        ("WFPCALLOUT_ACTION_", interface.Action),
        ("WFPCALLOUT_RULE_", interface.RuleFlag),
        ("WFPCALLOUT_FILTER_", interface.FilterAction),
        ("WFPCALLOUT_INJECT_", interface.InjectPath),
        ("WFPCALLOUT_LAB_", interface.LabOp),
        ("WFPCALLOUT_CRASH_", interface.CrashPlace),
        ("WFPCALLOUT_COMPLETE_", interface.Completion),
    ],
)
def test_numbers_are_those_of_the_header(prefix, enum):
    text = HEADER.read_text()
    found = {name: int(value, 0) for name, value in re.findall(rf"\b{prefix}(\w+)\s*=\s*(0x\w+|\d+)", text)}

    assert {member.name: member.value for member in enum} == found


def test_redirect_to_a_listener_names_its_process(driver, fake):
    fake.answers["tcp_listen"] = {"socket": 3, "local": "0.0.0.0:8080"}
    proxy = fake.client.tcp_listen("0.0.0.0:8080")

    rule = driver.redirect("tcp", remote="198.51.100.5:80", to=proxy)

    assert (rule.id, rule.layer) == (7, "ALE_CONNECT_REDIRECT_V4")
    wanted = {
        "layer": layer_id("ALE_CONNECT_REDIRECT_V4"),
        "action": 4,
        "protocol": 6,
        "family": 4,
        "remote_addr": "198.51.100.5",
        "remote_port": 80,
        "new_addr": "127.0.0.1",
        "new_port": 8080,
        "target_pid": 44,
    }
    assert fake.last.items() >= wanted.items()
    assert fake.last["context"].to_bytes(8, "little") == bytes([198, 51, 100, 5, 0, 80, 0, 0])


def test_redirect_to_a_station_has_no_process(driver, fake):
    driver.redirect("tcp", remote="198.51.100.5:80", to="198.51.100.6:81", context=5)

    assert (fake.last["new_addr"], fake.last["new_port"], fake.last["context"]) == ("198.51.100.6", 81, 5)
    assert "target_pid" not in fake.last


def test_layer_follows_the_addresses(driver, fake):
    driver.block("tcp", remote="[2001:db8::5]:80")
    assert (fake.last["layer"], fake.last["family"]) == (layer_id("ALE_AUTH_CONNECT_V6"), 6)
    driver.block("tcp", layer="ALE_AUTH_CONNECT_V6")
    assert (fake.last["layer"], fake.last["family"]) == (layer_id("ALE_AUTH_CONNECT_V6"), 6)
    driver.block("tcp", family=6)
    assert fake.last["layer"] == layer_id("ALE_AUTH_CONNECT_V6")
    driver.block("tcp")
    assert (fake.last["layer"], fake.last["family"]) == (layer_id("ALE_AUTH_CONNECT_V4"), 4)


def test_discard_layers_keep_their_names(driver, fake):
    driver.inspect("tcp", layer="INBOUND_TRANSPORT_V4_DISCARD")

    assert fake.last["layer"] == layer_id("INBOUND_TRANSPORT_V4_DISCARD")
    assert fake.last["filter_action"] == FilterAction.INSPECTION


def test_flags_slot_and_weight_go_along(driver, fake):
    driver.flow_context(
        "tcp",
        context_layer="STREAM",
        flags={RuleFlag.FLOW_ASSOCIATE_TWICE, RuleFlag.SILENT},
        slot=1,
        weight=15,
        max_hits=2,
    )

    assert fake.last.items() >= {
        "context_layer": layer_id("STREAM_V4"), "flags": 0x41, "slot": 1, "weight": 15, "max_hits": 2,
    }.items()  # fmt: skip


def test_patterns_are_hexadecimal(driver, fake):
    driver.replace("udp", layer="OUTBOUND_TRANSPORT", pattern=b"ping", replacement=b"pong")

    assert (fake.last["pattern"], fake.last["replacement"]) == ("70696e67", "706f6e67")


def test_a_rule_that_wfp_refuses_is_an_error_with_its_status(driver, fake):
    fake.answers["drv_add_rule"] = {"rule": 0, "status": -1071513596}  # 0xC0220004 as the driver's signed number

    with pytest.raises(
        RuleRefused, match="did not take the rule 'block' at ALE_AUTH_CONNECT_V4: STATUS_FWP_"
    ) as refused:
        driver.block("tcp")
    assert refused.value.ntstatus == 0xC0220004


def test_a_status_in_a_failed_reply_counts_as_well(driver, fake):
    fake.answers["drv_add_rule"] = {"ok": False, "error": "X", "code": 1, "ntstatus": 0xC000000D}
    with pytest.raises(RuleRefused, match="STATUS_INVALID_PARAMETER"):
        driver.block("tcp")
    fake.answers["drv_add_rule"] = {"ok": False, "error": "ERROR_FILE_NOT_FOUND", "code": 2}
    with pytest.raises(ProbeError, match="ERROR_FILE_NOT_FOUND"):
        driver.block("tcp")


def test_an_informational_status_is_no_refusal(driver, fake):
    fake.answers["drv_add_rule"] = {"rule": 9, "status": status_value("STATUS_OBJECT_NAME_EXISTS")}

    assert driver.block("tcp").id == 9


def test_remove_names_the_rule(driver, fake):
    driver.block("tcp").remove()

    assert fake.last == {"op": "drv_remove_rule", "rule": 7}


def test_events_drain_and_stats(driver, fake):
    fake.answers |= {
        "drv_events": {"dropped": 3, "events": [{"seq": 1}]},
        "drv_drain": {"seq": 12},
        "drv_stats": {"rules": 2, "injected": 1},
    }
    batch = driver.read_events()

    assert (batch.dropped, list(batch.events)) == (3, [{"seq": 1}])
    assert driver.drain(seconds=2) == 12
    assert fake.last == {"op": "drv_drain", "timeout_ms": 2000}
    assert driver.stats() == {"rules": 2, "injected": 1}


def test_settle_reads_events_and_counters_in_one_round_trip(driver, fake):
    fake.answers["drv_settle"] = {"seq": 4, "dropped": 1, "next_seq": 5, "events": [{"seq": 4}], "held_clones": 2}

    settled = driver.settle(seconds=2)

    assert (settled.events.dropped, list(settled.events.events)) == (1, [{"seq": 4}])
    assert settled.stats == {"held_clones": 2}
    assert fake.last == {"op": "drv_settle", "timeout_ms": 2000, "max": 256}


def test_only_a_missing_device_is_taken_for_a_driver_that_is_not_loaded(driver, fake):
    fake.answers["drv_settle"] = {"ok": False, "error": "ERROR_FILE_NOT_FOUND", "code": 2}
    assert driver.settle() is None
    fake.answers["drv_settle"] = {"ok": False, "error": "ERROR_ACCESS_DENIED", "code": 5}
    with pytest.raises(ProbeError, match="ERROR_ACCESS_DENIED"):
        driver.settle()


def test_inject_takes_the_family_from_the_packet(driver, fake):
    fake.answers["drv_inject"] = {"status": 0}

    assert driver.inject(InjectPath.NETWORK_SEND, bytes([0x60]) + bytes(39)) == 0
    assert fake.last["family"] == 6


def test_lab_calls_give_the_status_and_raise_nothing(driver, fake):
    key = UUID("00112233-4455-6677-8899-aabbccddeeff")
    fake.answers["drv_lab"] = {"status": -1071513591, "value": 0}  # 0xC0220009
    result = driver.lab.callout_add(key, "STREAM_V4")

    assert (result.status, result.name, result.ok) == (0xC0220009, "STATUS_FWP_ALREADY_EXISTS", False)
    assert fake.last["key"] == "33221100554477668899aabbccddeeff"
    fake.answers["drv_lab"] = {"ok": False, "error": "X", "code": 1, "ntstatus": 0x40000000}
    assert driver.lab.transaction_begin().name == "STATUS_OBJECT_NAME_EXISTS"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("[::1]:80", ("::1", 80)),
        ("::1", ("::1", 0)),
        (":80", ("", 80)),
    ],
)
def test_endpoints(text, wanted):
    assert split_endpoint(text) == wanted


@pytest.mark.parametrize("text", ["1.2.3:80", "1.2.3.4:x", "1.2.3.4:70000", "nonsense", "[::1"])
def test_what_is_no_endpoint_is_said(text):
    with pytest.raises(UsageError, match=re.escape(text)):
        split_endpoint(text)


def test_unknown_protocol_and_layer_are_usage_errors(driver):
    with pytest.raises(UsageError, match="Protocol 'sctp' is not known"):
        driver.block("sctp")
    with pytest.raises(UsageError, match="NOWHERE_V4"):
        driver.block("tcp", layer="NOWHERE")
