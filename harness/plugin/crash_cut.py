"""Whoever waits for a guest that crashes hears of it at once, not when the transport loses patience."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from harness.errors import HarnessError, MachineLost
from harness.guest import Guest
from harness.hypervisor import Condition, Machine

_CUT_SECONDS = 30.0


class CrashCut:
    """Cuts a guest off, until it is put back, when its machine tells of a panic; in a thread: events must not block."""

    def __init__(self, machine: Machine, guest: Callable[[], Guest]) -> None:
        self._machine, self._guest = machine, guest
        self._cutting: Thread | None = None
        machine.on_lost(self._begin)

    def finish(self) -> None:
        """If connections are being cut, come back when they are."""
        cutting, self._cutting = self._cutting, None
        if cutting is not None:
            cutting.join(_CUT_SECONDS)

    def _begin(self, _lost: MachineLost) -> None:
        if self._machine.condition is Condition.PANICKED:
            self._cutting = Thread(target=self._cut, name="cut-crashed-guest", daemon=True)
            self._cutting.start()

    def _cut(self) -> None:
        with suppress(AttributeError, HarnessError):  # it may have crashed before there was a guest to talk to
            self._guest().cut_off("the guest has crashed")
