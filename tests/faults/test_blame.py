"""Faults of the host at machines without a guest: none is blamed on a driver; more: `python -m benchmarks.blame`."""

from __future__ import annotations

import pytest

from benchmarks import blame

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]


def test_no_fault_of_the_host_is_blamed_on_the_driver() -> None:
    assert blame.small(6, seed=3) == []
