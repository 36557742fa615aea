"""wfpcallout2.sys, the reference callout driver once more: deployed beside the driver under test."""

from __future__ import annotations

from harness.driver.beside import deploy_beside
from harness.driver.control import DriverControl
from harness.driver.deploy import DriverService
from harness.driver.device import OnDevice
from harness.guest import Guest, ProbeClient

DRIVER_NAME = "wfpcallout2.sys"
DEVICE = r"\\.\WfpCallout2"


class SecondDriver:
    """The driver in a guest; `control` tells it what to do, as that of the driver under test does."""

    def __init__(self, service: DriverService, control: DriverControl) -> None:
        self._service = service
        self.control = control

    @classmethod
    def start(cls, guest: Guest, probe: ProbeClient) -> SecondDriver:
        """Put it into the guest and load it.

        Raises DeployError, DriverStartError.
        """
        service = deploy_beside(guest, DRIVER_NAME)
        service.start()
        return cls(service, DriverControl(OnDevice(probe, DEVICE)))

    def stop(self) -> None:
        """Unload it."""
        self._service.stop()
