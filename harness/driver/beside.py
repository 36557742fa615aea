"""A driver of our own, deployed beside the driver under test: from this checkout's builds, by its file's name."""

from __future__ import annotations

from harness.driver.build import build_all
from harness.driver.deploy import DriverService, deploy
from harness.driver.package import load_package
from harness.guest import Guest
from harness.guest.session import WORK_FOLDER


def deploy_beside(guest: Guest, name: str) -> DriverService:
    """Put it into the guest and make its service; it is not started yet.

    Raises DeployError, TransportError.
    """
    package = load_package(build_all()[name])
    if guest.kind.name == "windows":
        return deploy(guest, package, quick=True)  # signed, and as a package
    path = rf"{WORK_FOLDER}\{name}"
    guest.upload(package.path, path)
    service = DriverService(guest, package.service, path, quick=True)
    service.create()
    return service
