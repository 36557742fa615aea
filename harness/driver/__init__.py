"""The driver under test: built, examined, signed, put into the guest, started, and told what to do."""

from __future__ import annotations

from harness.driver.build import build_all, find_built
from harness.driver.control import DriverControl, EventBatch, Rule
from harness.driver.deploy import DriverService, deploy
from harness.driver.lab import Lab, LabResult
from harness.driver.package import DriverPackage, Exports, check_imports, load_exports, load_package, load_package_for
from harness.driver.sign import TestCertificate, make_certificate, sign, verify

__all__ = [
    "DriverControl",
    "DriverPackage",
    "DriverService",
    "EventBatch",
    "Exports",
    "Lab",
    "LabResult",
    "Rule",
    "TestCertificate",
    "build_all",
    "check_imports",
    "deploy",
    "find_built",
    "load_exports",
    "load_package",
    "load_package_for",
    "make_certificate",
    "sign",
    "verify",
]
