"""Which events break a machine, and which do not; libvirt's test driver sends real ones."""

from __future__ import annotations

import threading

import pytest

from harness.errors import MachineLost
from harness.hypervisor.connection import connect
from harness.hypervisor.serial import SerialLog
from harness.hypervisor.watch import Bugcheck, Condition, Watch
from harness.waiting import Deadline, wait_for

XML = "<domain type='test'><name>wfp-hil-w</name><memory>1024</memory><os><type>hvm</type></os></domain>"


@pytest.fixture
def connection():
    opened = connect("test:///default")
    yield opened
    opened.close()


@pytest.fixture
def watch(connection, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.hypervisor.watch.oom_kills", lambda: 0)  # whatever else runs on this host
    serial = SerialLog(tmp_path / "serial.log")
    serial.path.write_text("stage net\nlast words\n")
    made = Watch(connection, "wfp-hil-w", serial)
    yield made
    made.close()


@pytest.fixture
def domain(connection, watch):
    made = connection.createXML(XML)
    watch.follow(made.UUIDString())
    yield made
    if made.name() in {each.name() for each in connection.listAllDomains()}:
        made.destroy()


def test_a_domain_that_ends_is_lost_with_its_last_words(watch, domain):
    told: list[MachineLost] = []
    heard = threading.Event()
    watch.on_lost(lambda error: (told.append(error), heard.set()))

    domain.destroy()

    assert heard.wait(30)
    assert watch.condition is Condition.GONE
    with pytest.raises(MachineLost) as caught:
        watch.check()
    assert caught.value.message == (
        "The machine 'wfp-hil-w' is gone: somebody destroyed the domain. Its last serial lines: stage net / last words"
    )
    assert len(told) == 1


def test_a_late_end_of_an_earlier_domain_breaks_nothing(connection, watch, domain):
    ended = threading.Event()
    second = connect("test:///default")  # libvirt takes one registration of a kind from each connection
    other = Watch(second, "wfp-hil-w", watch._serial)
    other.follow(domain.UUIDString())
    other.on_lost(lambda error: ended.set())
    watch.follow("00000000-0000-4000-8000-000000000000")

    domain.destroy()

    assert ended.wait(30)
    assert watch.condition is Condition.RUNNING
    watch.check()
    other.close()
    second.close()


def test_a_pause_is_no_loss(watch, domain):
    domain.suspend()

    wait_for(lambda: watch.condition is Condition.PAUSED or None, Deadline(30), "the watch to see the pause")
    watch.check()


def test_the_first_cause_is_kept(watch, domain):
    watch.lose(Condition.PANICKED, "panicked")
    watch.lose(Condition.GONE, "is gone")

    assert watch.condition is Condition.PANICKED
    with pytest.raises(MachineLost, match="panicked"):
        watch.check()


def test_a_reboot_is_no_loss_where_it_is_expected(watch, domain):
    with watch.expecting_reboot():
        watch.lose(Condition.REBOOTED, "rebooted by itself")
        watch.check()
        watch.lose(Condition.GONE, "is gone")
    with pytest.raises(MachineLost, match="is gone"):
        watch.check()


def test_a_guest_that_switches_itself_off_is_told_from_one_that_is_destroyed(watch, domain):
    domain.shutdown()

    wait_for(lambda: True if watch.condition is Condition.SWITCHED_OFF else None, Deadline(30), "the end")
    with pytest.raises(MachineLost, match="is gone: the guest shut down"):
        watch.check()


def test_reboots_are_counted_expected_or_not(connection, watch, domain):
    with watch.expecting_reboot():
        watch._reset(connection, domain, None)
        watch.check()
    watch._reset(connection, domain, None)
    assert watch.resets == 2
    with pytest.raises(MachineLost, match="rebooted by itself"):
        watch.check()


# As QEMU's documentation of GUEST_PANICKED has it: five numbers under Hyper-V, of which the first is the code.
HYPER_V = '{"action": "pause", "info": {"type": "hyper-v", "arg1": 209, "arg2": 2, "arg3": 3, "arg4": 4, "arg5": 5}}'


def test_the_bugcheck_is_read_from_the_panic_event(connection, watch, domain):
    watch._panicked(connection, domain, "GUEST_PANICKED", 0, 0, HYPER_V, None)

    assert watch.bugcheck == Bugcheck(code=0xD1, parameters=(2, 3, 4, 5))
    assert str(watch.bugcheck) == "bugcheck 0xD1 (0x2, 0x3, 0x4, 0x5)"
    watch.follow(domain.UUIDString())  # a revert undoes it
    assert watch.bugcheck is None


@pytest.mark.parametrize("details", ["", "{}", '{"action": "pause"}', '{"info": {"type": "hyper-v", "arg1": 1}}'])
def test_a_panic_device_that_tells_no_code_is_no_error(connection, watch, domain, details):
    watch._panicked(connection, domain, "GUEST_PANICKED", 0, 0, details, None)

    assert watch.bugcheck is None
