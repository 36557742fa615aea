"""What the human monitor prints, recorded from QEMU 7.2."""

from __future__ import annotations

import pytest

from harness.errors import MachineError
from harness.hypervisor.monitor import Monitor

USERNET = """Hub -1 (mgmt):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   21       10.0.2.15  5986        10.0.2.2 51000     0     0
  TCP[HOST_FORWARD]  12       127.0.0.1 36967       10.0.2.15  5986     0     0
  TCP[HOST_FORWARD]  10       127.0.0.1 41207       10.0.2.15    22     0     0
"""


def test_host_ports_are_those_of_the_forwards_alone():
    assert Monitor(lambda command: USERNET).host_ports() == {5986: 36967, 22: 41207}


def test_silence_is_success():
    Monitor(lambda command: "\r\n").order("savevm warm")


def test_any_text_is_a_refusal():
    with pytest.raises(MachineError, match=r"^QEMU refused 'loadvm x': Error: Snapshot 'x' does not exist$"):
        Monitor(lambda command: "Error: Snapshot 'x'\r\n  does not exist\r\n").order("loadvm x")
