"""What the fixtures need of a running guest with the driver in it: the plug-in's own bench, or somebody else's."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from harness.driver import DriverControl, DriverService
from harness.driver.crash import CrashSeen
from harness.guest import Guest, ProbeClient
from harness.guest.second_channel import SecondChannel
from harness.hypervisor import Machine
from harness.link import StreamLink
from harness.plugin.crash_folder import CrashedScene, CrashRecord
from harness.plugin.far import FarLink
from harness.plugin.options import RunOptions
from harness.traffic import Stations


class Bench(Protocol):
    """What the fixtures need of a running guest."""

    options: RunOptions
    facts: dict[str, object]
    link: StreamLink
    stations: Stations
    far: FarLink | None
    serial_log: Path
    driver_file: Path | None

    @property
    def machine(self) -> Machine: ...  # noqa: D102
    @property
    def guest(self) -> Guest: ...  # noqa: D102
    @property
    def control(self) -> DriverControl | None: ...  # noqa: D102
    @property
    def service(self) -> DriverService: ...  # noqa: D102
    @property
    def probe(self) -> ProbeClient: ...  # noqa: D102
    @property
    def second_channel(self) -> SecondChannel | None: ...  # noqa: D102
    @property
    def is_windows(self) -> bool: ...  # noqa: D102

    def fresh(self) -> None:
        """Put the guest back to the state in which the bench was opened."""

    def renew(self) -> None:
        """Put a fresh machine, with fresh links, in the place of one that was lost, in that same state."""

    def tidy(self) -> None:
        """Undo what a scenario set up, without putting the guest back."""

    def check(self) -> None:
        """Raise what broke the guest, if something did."""

    def driver_runs(self) -> bool:
        """Whether the driver's service runs."""

    def diagnose(self, error: BaseException) -> BaseException:
        """What an error that ended a scenario really says."""

    def serial_size(self) -> int:
        """Bytes the serial console has said so far."""

    def reports_start(self) -> int:
        """Where on the serial console the reports for the scenario that begins are from; asked once a scenario.

        The first one has those of the driver's load as well.
        """

    def unload(self) -> None:
        """Stop the driver; what it has left behind is on the serial console then."""

    def save_state(self, file: Path) -> None:
        """After a failure: write what the guest's filter engine holds, as XML; a note when it cannot be had."""

    def save_dumps(self, folder: Path) -> None:
        """After a crash or a hang: put what the guest has of it into the folder; the guest is worn out afterwards."""

    def watched(self, quiet_seconds: float | None = None) -> AbstractContextManager[None]:
        """A watch-dog ends what waits in the block when nothing moves any more, for so long or the usual time."""

    def save_crash(self, seen: CrashSeen, scene: CrashedScene, folder: Path) -> CrashRecord:
        """After a crash: put what can be had of it into the folder; the guest is worn out afterwards."""
