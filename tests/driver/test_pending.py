from __future__ import annotations

import pytest

from harness.driver.control import DriverControl
from harness.driver.interface import Action, RuleFlag
from harness.errors import DeadlineExpired, UsageError
from harness.guest import ProbeError


@pytest.fixture
def driver(fake):
    fake.answers["drv_add_rule"] = {"rule": 7, "status": 0}
    fake.answers["drv_pended"] = {"number": 3, "status": 0}
    return DriverControl(fake.client)


@pytest.mark.parametrize(
    ("layer", "action"),
    [
        ("ALE_AUTH_CONNECT", Action.PEND),
        ("ALE_AUTH_RECV_ACCEPT", Action.PEND),
        ("ALE_CONNECT_REDIRECT", Action.PEND_CLASSIFY),
        ("ALE_CONNECT_REDIRECT_V6", Action.PEND_CLASSIFY),
    ],
)
def test_the_layer_decides_what_is_called(driver, fake, layer, action):
    driver.pend("tcp", layer=layer, flags=[RuleFlag.PEND_AT_ONCE])

    assert (fake.last["action"], fake.last["flags"]) == (action, 0x20000)


def test_waiting_names_the_rule_and_gives_what_was_put_off(driver, fake):
    pended = driver.pend("tcp").pended(seconds=2)

    assert fake.last == {"op": "drv_pended", "rule": 7, "timeout_ms": 2000}
    assert pended.number == 3


def test_nothing_put_off_is_a_deadline_that_expired(driver, fake):
    fake.answers["drv_pended"] = {"ok": False, "error": "NTSTATUS_C00000B5", "code": 1, "ntstatus": 0xC00000B5}

    with pytest.raises(DeadlineExpired, match="Rule 7 put nothing off within 2 s"):
        driver.pend("tcp").pended(seconds=2)


def test_another_failure_of_waiting_is_raised_as_it_is(driver, fake):
    fake.answers["drv_pended"] = {"ok": False, "error": "ERROR_FILE_NOT_FOUND", "code": 2}

    with pytest.raises(ProbeError, match="ERROR_FILE_NOT_FOUND"):
        driver.pend("tcp").pended()


@pytest.mark.parametrize(("ending", "action"), [({}, 1), ({"permit": False}, 2), ({"again": True}, 4)])
def test_each_ending_has_its_number(driver, fake, ending, action):
    driver.pend("tcp").pended().complete(**ending)

    assert fake.last == {"op": "drv_complete", "number": 3, "action": action}


def test_a_redirection_says_where_to(driver, fake):
    fake.answers["tcp_listen"] = {"socket": 3, "local": "[::]:8080"}
    proxy = fake.client.tcp_listen("[::]:8080")

    driver.pend("tcp").pended().complete(redirect=proxy, context=5)

    assert fake.last == {
        "op": "drv_complete", "number": 3, "action": 3,
        "new_addr": "::1", "new_port": 8080, "target_pid": 44, "context": 5,
    }  # fmt: skip


def test_two_endings_at_once_are_refused_before_the_guest_is_asked(driver, fake):
    pended = driver.pend("tcp").pended()
    asked = len(fake.requests)

    with pytest.raises(UsageError, match="and not two of them"):
        pended.complete(permit=False, redirect="198.51.100.6:81")
    assert len(fake.requests) == asked
