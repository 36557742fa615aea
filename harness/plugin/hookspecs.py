"""Hooks that other plug-ins and conftest files may implement."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.plugin.bench_needs import Bench
    from harness.plugin.options import RunOptions


@pytest.hookspec(firstresult=True)
def pytest_wfp_open_bench(options: RunOptions) -> AbstractContextManager[Bench] | None:
    """A context manager that gives a running guest with the driver in it; None leaves it to the next."""
