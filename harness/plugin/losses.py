"""Whether the host's part of a bench broke: what then ended a scenario says nothing about the driver."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import HarnessError, LinkError
from harness.hypervisor import Condition, Machine
from harness.link import StreamLink
from harness.waiting import Deadline

# How long libvirt's event of a machine's end may be on its way.
_EVENT_SECONDS = 3.0


def find_loss(machine: Machine, links: Sequence[StreamLink]) -> HarnessError | None:
    """What broke: the machine, which takes its links along, or else a link alone; None when both are whole."""
    if machine.condition in (Condition.PANICKED, Condition.REBOOTED):
        return None  # the guest's own doing, and perhaps the driver's
    try:
        machine.examine(Deadline(_EVENT_SECONDS))
    except HarnessError as error:
        return error
    lost = next((link.lost for link in links if link.lost is not None), None)
    return None if lost is None else LinkError(f"The link to the guest was lost while its machine went on: {lost}")
