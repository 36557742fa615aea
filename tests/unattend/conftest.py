"""An installation to render, keys for it, and the neighbours of these tests on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.images.secrets import Secrets, make_secrets
from harness.unattend import InstallPlan

sys.path.insert(0, str(Path(__file__).parent))

PASSWORD = "Secret-1 & <more>"


@pytest.fixture
def plan() -> InstallPlan:
    return InstallPlan(computer_name="WFP11", image_name="Windows 11 Pro", image_index=3, password=PASSWORD)


@pytest.fixture(scope="session")
def secrets() -> Secrets:
    return make_secrets(computer_name="WFP11")
