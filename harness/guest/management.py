"""Puts the management network behind the guest's filter engine, where a driver under test can cut it.

On Windows it always is. In the reference guest it is not, so that a driver that blocks too much spoils one scenario
and not the run: where a scenario is about just that, it asks for it, and the next revert undoes it.
"""

from __future__ import annotations

from harness.guest.probe import ProbeClient
from harness.guest.second_channel import SecondChannel
from harness.steps import step
from harness.waiting import Deadline

_MODEL = r"\\.\WfpModel"
_IOCTL = 0x12 << 16 | (0x900 + 24) << 2  # IOCTL_WFPMODEL_MANAGEMENT
_SECONDS = 30.0


def put_in_path(channel: SecondChannel, probe: ProbeClient) -> None:
    """From here on WinRM's and SFTP's packets pass the engine's layers; connections that are open live on.

    Raises GuestError when the guest cannot do it, TransportError, DeadlineExpired.
    """
    with step("put the management network behind the filter engine", deadline=Deadline(_SECONDS)):
        deadline = Deadline(_SECONDS)
        channel.request("management", deadline, phase="prepare")
        probe.request("drv_open", device=_MODEL)
        try:
            probe.request("drv_ioctl", code=_IOCTL, out_size=0)
        finally:
            probe.request("drv_close")
        channel.request("management", deadline, phase="commit")
        probe.hello()  # and not the first thing that the scenario does finds out that it does not work
