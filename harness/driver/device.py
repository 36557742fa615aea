"""Which driver a request to the probe is for: the one under test, or another one beside it."""

from __future__ import annotations

from typing import Any, Protocol

from harness.guest import ProbeClient
from harness.guest.probe import Pending


class Asks(Protocol):
    """What the controls of a driver need of the probe."""

    def request(self, op: str, *, seconds: float = 0.0, **args: object) -> dict[str, Any]:
        """Send a request and wait for its reply; raises what ProbeClient.request does."""

    def start(self, op: str, *, seconds: float = 0.0, **args: object) -> Pending:
        """Send a request and come back at once."""


class OnDevice:
    """The probe, for a driver that has another device than the one under test, such as '\\\\.\\WfpCallout2'."""

    def __init__(self, probe: ProbeClient, device: str) -> None:
        self._probe, self._device = probe, device

    def request(self, op: str, *, seconds: float = 0.0, **args: object) -> dict[str, Any]:
        """As ProbeClient.request, of that device."""
        return self._probe.request(op, seconds=seconds, device=self._device, **args)

    def start(self, op: str, *, seconds: float = 0.0, **args: object) -> Pending:
        """As ProbeClient.start, of that device."""
        return self._probe.start(op, seconds=seconds, device=self._device, **args)
