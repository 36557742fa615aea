"""The rules of the stream layer, as the probe is asked for them."""

from __future__ import annotations

import pytest

from harness.driver.control import DriverControl
from harness.driver.interface import Action, FilterAction, RuleFlag, StreamDirection
from harness.wfp import layer_id


@pytest.fixture
def driver(fake):
    fake.answers["drv_add_rule"] = {"rule": 7, "status": 0}
    return DriverControl(fake.client)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda d: d.stream_need_more(100), {"action": Action.STREAM_NEED_MORE, "stream_length": 100}),
        (
            lambda d: d.stream_defer(flags=[RuleFlag.HOLD]),
            {"action": Action.STREAM_DEFER, "stream_direction": StreamDirection.IN, "flags": 0x200},
        ),
        (
            lambda d: d.stream_replace(b"ab", b"xyz", direction=StreamDirection.OUT),
            {"action": Action.STREAM_REPLACE, "pattern": "6162", "replacement": "78797a", "stream_direction": 1},
        ),
        (
            lambda d: d.stream_insert(5, b"!"),
            {"action": Action.STREAM_INSERT, "stream_offset": 5, "replacement": "21", "stream_direction": 0},
        ),
        (
            lambda d: d.stream_remove(5, 6),
            {"action": Action.STREAM_REMOVE, "stream_offset": 5, "stream_length": 6},
        ),
        (
            lambda d: d.stream_reinject(),
            {"action": Action.STREAM_REINJECT, "filter_action": FilterAction.UNKNOWN},
        ),
        (lambda d: d.stream_drop(), {"action": Action.STREAM_DROP, "filter_action": FilterAction.UNKNOWN}),
        (lambda d: d.stream_allow(slot=1), {"action": Action.STREAM_ALLOW, "slot": 1, "filter_action": 0}),
    ],
)
def test_each_rule_asks_for_its_action_at_the_stream_layer(driver, fake, call, wanted):
    rule = call(driver)

    assert rule.layer == "STREAM_V4"
    assert fake.last.items() >= (wanted | {"layer": layer_id("STREAM_V4"), "protocol": 6}).items()


def test_the_layer_follows_the_family(driver, fake):
    driver.stream_allow(remote="[2001:db8::5]:80")

    assert fake.last["layer"] == layer_id("STREAM_V6")
    assert fake.last["family"] == 6
