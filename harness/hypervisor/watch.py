"""What libvirt's events say about a machine: the first thing that breaks it is kept, with its last serial lines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import libvirt
import libvirt_qemu

from harness.errors import MachineLost
from harness.hypervisor.qemu_process import oom_kills
from harness.hypervisor.serial import SerialLog


class Condition(StrEnum):
    """What libvirt can tell about a machine; whether the guest still answers, only its transports can."""

    OFF = "off"
    RUNNING = "running"
    PAUSED = "paused"
    PANICKED = "panicked"
    REBOOTED = "rebooted"
    SWITCHED_OFF = "switched-off"
    GONE = "gone"
    DISK_FAILED = "disk-failed"
    STOPPED = "stopped"
    OUT_OF_REACH = "out-of-reach"


_BROKEN = frozenset(Condition) - {Condition.OFF, Condition.RUNNING, Condition.PAUSED}
_ENDINGS = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "somebody destroyed the domain",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "the guest crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "QEMU ended unexpectedly",
}
_CLOSINGS = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "the connection to libvirt's daemon broke",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirt's daemon ended or was started anew",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "libvirt's daemon no longer answers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bugcheck:
    """The code and the four parameters of a crash, as Windows tells Hyper-V's crash registers."""

    code: int
    parameters: tuple[int, int, int, int]

    @classmethod
    def of_event(cls, details: str) -> Bugcheck | None:
        """Read QMP's GUEST_PANICKED; None where the device had nothing to tell but that it happened."""
        try:
            info = json.loads(details)["info"]
            code, *rest = (int(info[f"arg{number}"]) for number in range(1, 6))
        except (ValueError, KeyError, TypeError):
            return None
        return cls(code=code, parameters=(rest[0], rest[1], rest[2], rest[3]))

    def __str__(self) -> str:
        return f"bugcheck 0x{self.code:X} ({', '.join(f'0x{value:X}' for value in self.parameters)})"


class Watch:
    """Follows one domain; events come in libvirt's event thread."""

    def __init__(self, connection: libvirt.virConnect, domain: str, serial: SerialLog) -> None:
        self._connection = connection
        self._name = domain
        self._serial = serial
        self._lock = threading.Lock()  # guards the eight below
        self._uuid: str | None = None
        self._lost: MachineLost | None = None
        self._lost_at: float | None = None
        self._condition = Condition.OFF
        self._expected = 0  # depth of blocks in which the guest may reboot
        self._on_lost: list[Callable[[MachineLost], None]] = []
        self._resets = 0
        self._bugcheck: Bugcheck | None = None
        self._handles = [
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None),
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reset, None),
            connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._disk_failed, None
            ),
        ]
        self._ooms = oom_kills()
        with suppress(libvirt.libvirtError):  # drivers of libvirt without a daemon have none to lose
            connection.registerCloseCallback(self._closed, None)
        self._panics: int | None = None
        with suppress(libvirt.libvirtError):  # libvirt's test driver has no QEMU
            anyone: Any = None  # the binding's types want a domain, its code takes none for all
            self._panics = libvirt_qemu.qemuMonitorEventRegister(
                connection, anyone, "GUEST_PANICKED", self._panicked, None
            )

    @property
    def condition(self) -> Condition:
        """What the last event said."""
        with self._lock:
            return self._condition

    @property
    def resets(self) -> int:
        """Reboots of all domains that were followed."""
        with self._lock:
            return self._resets

    @property
    def lost_at(self) -> float | None:
        """When the event came that broke the machine, in this host's monotonic seconds; None while it is sound."""
        with self._lock:
            return self._lost_at

    @property
    def bugcheck(self) -> Bugcheck | None:
        """What the last crash was, where a panic device told it."""
        with self._lock:
            return self._bugcheck

    def on_lost(self, callback: Callable[[MachineLost], None]) -> None:
        """Have `callback` called when the machine breaks, in the thread that found out; it must not block."""
        with self._lock:
            self._on_lost.append(callback)

    def check(self) -> None:
        """Raises MachineLost, with the first cause, when the machine is broken."""
        with self._lock:
            lost = self._lost
        if lost is not None:
            raise MachineLost(lost.message, hint=lost.hint) from lost

    def follow(self, uuid: str | None) -> None:
        """From now on believe only events of the domain with this UUID; None while there is none.

        Each power-on has a UUID of its own, so that a late event of an ended QEMU cannot break its successor.
        """
        with self._lock:
            self._uuid, self._lost, self._lost_at, self._bugcheck = uuid, None, None, None
            self._condition = Condition.RUNNING if uuid else Condition.OFF

    @contextmanager
    def expecting_reboot(self) -> Iterator[None]:
        """A block in which the guest may reboot without being lost."""
        with self._lock:
            self._expected += 1
        try:
            yield
        finally:
            with self._lock:
                self._expected -= 1

    def lose(self, condition: Condition, what: str) -> None:
        """Keep the first cause and tell everybody; `what` completes 'the machine ...'."""
        now = time.monotonic()
        with self._lock:
            expected = self._expected and condition is Condition.REBOOTED
            if self._lost is not None or expected:
                return
            lines = self._serial.tail()
            said = " / ".join(lines) if lines else "it wrote nothing"
            lost = MachineLost(
                f"The machine '{self._name}' {what}. Its last serial lines: {said}",
                hint=f"All it wrote is in '{self._serial.path}'.",
            )
            self._lost, self._lost_at, self._condition = lost, now, condition
            callbacks = tuple(self._on_lost)
        for callback in callbacks:
            callback(lost)

    def end(self, how: str) -> None:
        """QEMU is gone; says so if the kernel meanwhile ended a process for want of memory."""
        kills = oom_kills() - self._ooms
        if kills > 0:
            how += f", and since it began the host's kernel ended {kills} for want of memory (oom_kill in /proc/vmstat)"
        self.lose(Condition.GONE, f"is gone: {how}")

    def close(self) -> None:
        """Hear no more events."""
        for handle in self._handles:
            with suppress(libvirt.libvirtError):
                self._connection.domainEventDeregisterAny(handle)
        self._handles = []
        with suppress(libvirt.libvirtError):
            self._connection.unregisterCloseCallback()
        if self._panics is not None:
            with suppress(libvirt.libvirtError):
                libvirt_qemu.qemuMonitorEventDeregister(self._connection, self._panics)
            self._panics = None

    def _lifecycle(
        self, _connection: libvirt.virConnect, domain: libvirt.virDomain, event: int, detail: int, _opaque: Any
    ) -> None:
        if not self._is_followed(domain):
            return
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED and detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
            self.lose(Condition.SWITCHED_OFF, "is gone: the guest shut down")
        elif event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            self.end(_ENDINGS.get(detail, f"it stopped for reason {detail}"))
        elif event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
            writes = ", and writes its dump" if detail == libvirt.VIR_DOMAIN_EVENT_CRASHED_CRASHLOADED else ""
            self.lose(Condition.PANICKED, f"panicked: the guest reported a crash of its kernel{writes}")
        elif event in (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_RESUMED):
            with self._lock:
                if self._condition not in _BROKEN:
                    paused = event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED
                    self._condition = Condition.PAUSED if paused else Condition.RUNNING

    def _reset(self, _connection: libvirt.virConnect, domain: libvirt.virDomain, _opaque: Any) -> None:
        if self._is_followed(domain):
            with self._lock:
                self._resets += 1
            self.lose(Condition.REBOOTED, "rebooted by itself")

    def _disk_failed(
        self, _connection: libvirt.virConnect, domain: libvirt.virDomain, path: str, _alias: str, action: int,
        reason: str, _opaque: Any,
    ) -> None:  # fmt: skip
        if self._is_followed(domain) and action == libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE:
            why = "there is no space left on the host's disk" if reason == "enospc" else "the host's disk failed"
            self.lose(Condition.DISK_FAILED, f"stands still: QEMU could not write '{path}', for {why}")

    def _closed(self, _connection: libvirt.virConnect, reason: int, _opaque: Any) -> None:
        if self._uuid is not None and reason != libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT:
            why = _CLOSINGS.get(reason, f"the connection to libvirt ended for reason {reason}")
            self.lose(Condition.OUT_OF_REACH, f"is out of reach: {why}")

    def _panicked(
        self, _connection: libvirt.virConnect, domain: libvirt.virDomain, _event: str, _seconds: int, _micros: int,
        details: str, _opaque: Any,
    ) -> None:  # fmt: skip
        if self._is_followed(domain) and (bugcheck := Bugcheck.of_event(details)) is not None:
            with self._lock:
                self._bugcheck = bugcheck

    def _is_followed(self, domain: libvirt.virDomain) -> bool:
        with self._lock:
            return domain.UUIDString() == self._uuid
