"""Why a guest makes no progress: the driver hangs, the driver cut the network, or the guest itself is gone.

The second control channel tells them apart. Where it answers, the guest runs, and what does not answer was silenced by
the driver; stopping the driver proves it. Where it is silent as well, the reference guest is lost, because its drivers
live in a process and cannot stop its kernel; a Windows guest may well hang in the driver, and gets an NMI for its dump.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harness.driver.symbols import Symbols
from harness.errors import (
    DeadlineExpired,
    ExpectationFailed,
    GuestError,
    GuestHung,
    HarnessError,
    MachineLost,
    TransportError,
)
from harness.guest.second_channel import Hello, Refused, SecondChannel
from harness.guest.threads import Process, Stuck, find_stuck, render
from harness.hypervisor import Machine
from harness.steps import note, step
from harness.waiting import Deadline

HOST_PROCESS = "winedevice.exe"
THREADS_FILE = "threads.txt"
_HELLO_SECONDS = 15.0
_STACK_SECONDS = 20.0
_STOP_SECONDS = 20.0
_BACK_SECONDS = 40.0
_TOLD = 3  # threads in the message; all are in the file


class Reachable(Protocol):
    """What is asked of the guest's management network."""

    def cut(self) -> None:
        """Break every connection: some may lead into a network that swallowed what they carried."""

    def wait_until_ready(self, deadline: Deadline) -> object:
        """Wait until WinRM answers."""


class Inquiry:
    """Finds out, once a wait was in vain, what stands still; keeps what it saw until it is asked to save it."""

    def __init__(
        self,
        *,
        machine: Machine,
        channel: SecondChannel,
        guest: Callable[[], Reachable],
        driver: Path,
        is_windows: bool,
    ) -> None:
        self._machine = machine
        self._channel = channel
        self._guest = guest
        self._driver = driver
        self._symbols = Symbols(driver)
        self._is_windows = is_windows
        self._threads: list[Process] = []
        self._boot_id: str | None = None
        self.unloaded = False
        self.wants_dump = False

    @property
    def has_channel(self) -> bool:
        """Whether an agent has answered on the second channel."""
        return self._boot_id is not None

    def greet(self, deadline: Deadline) -> bool:
        """Wait for the agent and take down the boot id; False where nobody answers."""
        try:
            self._boot_id = self._channel.hello(deadline).boot_id
        except (DeadlineExpired, TransportError) as silent:
            self._boot_id = None
            note(f"The guest has no second control channel: {silent.message}")
        return self.has_channel

    def forget(self) -> None:
        """The guest was put back: nothing that was seen is true any more."""
        self._channel.close()
        self._threads, self.unloaded, self.wants_dump = [], False, False

    def of_hang(self, error: GuestHung) -> HarnessError | ExpectationFailed:
        """What a wait in vain that counts as a hang was: a thread in the driver, or nothing that can be shown."""
        if not self.has_channel:
            self.wants_dump = self._is_windows
            return error
        stuck = self._look()
        if stuck:
            return self._hung(error.message, stuck)
        if self._lost_hello() is not None:
            return self.of_silence(error.message, "the second channel is silent, too")
        self.wants_dump = self._is_windows
        return GuestHung(f"{error.message} {self._no_thread()}", hint=error.hint)

    def of_delay(self, error: HarnessError) -> GuestHung | None:
        """Whether a wait in vain was for a thread that is inside the driver and does not come back."""
        stuck = self._look() if self.has_channel and not self._is_windows else []
        return self._hung(error.message, stuck) if stuck else None

    def of_silence(self, what: str, silent: str) -> HarnessError | ExpectationFailed:
        """The guest's management network is silent: who silenced it."""
        said = f"{what} After that the guest's probe did not answer: {silent}"
        if not self.has_channel:
            self.wants_dump = self._is_windows
            return GuestHung(said)
        try:
            hello = self._channel.hello(Deadline(_HELLO_SECONDS))
        except (DeadlineExpired, TransportError) as also:
            return self._nobody(said, also)
        if hello.boot_id != self._boot_id:
            return MachineLost(
                f"{said} The guest has rebooted: its boot id was {self._boot_id} and is {hello.boot_id}."
            )
        if not hello.management:
            return MachineLost(f"{said} Nobody listens on WinRM's port in the guest any more.")
        return self._silenced(said, hello)

    def save(self, folder: Path) -> None:
        """Write the stacks that were taken into the scenario's folder."""
        if self._threads:
            (folder / THREADS_FILE).write_text(render(self._threads, self._name), encoding="utf-8")

    def _silenced(self, said: str, hello: Hello) -> HarnessError | ExpectationFailed:
        name = self._driver.stem
        stuck = self._look()
        if stuck:
            return self._hung(said, stuck)
        alive = f"{said} The guest itself runs: its second channel answers, {hello.uptime:.0f} s after its boot."
        with step("unload the driver over the second channel", driver=name):
            try:
                stopped = self._channel.stop_service(name, Deadline(_STOP_SECONDS))
            except Refused as refused:
                self._look()
                return GuestHung(f"{alive} The driver does not unload either: {refused.message}{self._where()}")
            except (DeadlineExpired, TransportError) as error:
                return GuestHung(f"{alive} While the driver was to be unloaded it fell silent: {error.message}")
        self.unloaded = stopped
        with step("wait for WinRM"):
            try:
                self._guest().cut()
                self._guest().wait_until_ready(Deadline(_BACK_SECONDS))
            except (DeadlineExpired, TransportError, GuestError) as still:
                return GuestHung(f"{alive} It stays unreachable, although the driver was unloaded: {still.message}")
        return ExpectationFailed(
            f"The driver cut the guest's management network. {alive} The driver was unloaded over the second channel, "
            "and then WinRM answered again."
        )

    def _nobody(self, said: str, also: HarnessError) -> HarnessError:
        silent = f"{said} The second channel, which no driver can cut, does not answer either: {also.message}"
        if not self._machine.is_alive():
            return MachineLost(f"{silent} The machine is {self._machine.condition}.")
        if self._is_windows:
            self.wants_dump = True
            return GuestHung(f"{silent} The machine is {self._machine.condition}: its kernel makes no progress.")
        return MachineLost(f"{silent} A driver of this guest lives in a process and cannot have done that.")

    def _look(self) -> list[Stuck]:
        """Two looks at all threads of the process that the driver is in."""
        if self._is_windows:
            return []
        try:
            with step("take the stacks of the driver's process"):
                before = self._channel.stacks(HOST_PROCESS, Deadline(_STACK_SECONDS))
                self._threads = self._channel.stacks(HOST_PROCESS, Deadline(_STACK_SECONDS))
        except (DeadlineExpired, TransportError, GuestError) as error:
            note(f"The stacks of the driver's process could not be taken: {error.message}")
            return []
        return find_stuck(before, self._threads, self._driver.name)

    def _hung(self, what: str, stuck: list[Stuck]) -> GuestHung:
        told = " ".join(one.tell(self._name) for one in stuck[:_TOLD])
        more = f" So do {len(stuck) - _TOLD} more." if len(stuck) > _TOLD else ""
        return GuestHung(
            f"{what} The driver does not come back: {told}{more}",
            hint=f"{THREADS_FILE} in the scenario's folder has the stacks of all threads.",
        )

    def _lost_hello(self) -> HarnessError | None:
        try:
            self._channel.hello(Deadline(_HELLO_SECONDS))
        except (DeadlineExpired, TransportError) as error:
            return error
        return None

    def _no_thread(self) -> str:
        return "No thread stands in a call of the driver." if self._threads else "No stacks could be taken."

    def _where(self) -> str:
        return f" {THREADS_FILE} in the scenario's folder has the stacks." if self._threads else ""

    def _name(self, module: str, offset: int) -> str:
        return self._symbols.name(offset) if module.lower() == self._driver.name.lower() else ""
