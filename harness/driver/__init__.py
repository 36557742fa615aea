"""The driver under test: built, examined, signed, put into the guest, started, and told what to do."""

from __future__ import annotations

from harness.driver.build import build_all, find_built
from harness.driver.catalog import make_catalog
from harness.driver.control import DriverControl, EventBatch, Rule
from harness.driver.deploy import DriverService, deploy
from harness.driver.inf_check import check_inf
from harness.driver.lab import Lab, LabResult
from harness.driver.loader import check_loadable
from harness.driver.package import DriverPackage, Exports, check_imports, load_exports, load_package, load_package_for
from harness.driver.pending import Pended
from harness.driver.sign import TestCertificate, make_certificate, sign, verify
from harness.driver.verifier import VerifierProfile, confirm_active, set_verifier
from harness.driver.windows_deploy import InstalledDriver, install
from harness.driver.windows_package import WindowsPackage, make_package

__all__ = [
    "DriverControl",
    "DriverPackage",
    "DriverService",
    "EventBatch",
    "Exports",
    "InstalledDriver",
    "Lab",
    "LabResult",
    "Pended",
    "Rule",
    "TestCertificate",
    "VerifierProfile",
    "WindowsPackage",
    "build_all",
    "check_imports",
    "check_inf",
    "check_loadable",
    "confirm_active",
    "deploy",
    "find_built",
    "install",
    "load_exports",
    "load_package",
    "load_package_for",
    "make_catalog",
    "make_certificate",
    "make_package",
    "set_verifier",
    "sign",
    "verify",
]
