"""The scenario of `wfp-hil reproduce`: a capture from the field, played once against the driver."""

from __future__ import annotations

import pytest

from harness.capture import Capture, read
from harness.errors import UsageError
from harness.plugin.replaying import Replaying, chooser


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Name the case after the capture."""
    path = metafunc.config.getoption("--capture-file")
    metafunc.parametrize("source", [path], ids=[path.name if path is not None else "none"])


@pytest.fixture
def capture(pytestconfig: pytest.Config, source: object) -> Capture:
    """What the command line names."""
    path = pytestconfig.getoption("--capture-file")
    if path is None or source is None:
        raise UsageError("There is no capture to replay.", hint="Use 'wfp-hil reproduce CAPTURE'.")
    hosts = tuple(pytestconfig.getoption("--host"))
    return read(path, choose=chooser(pytestconfig.getoption("--packets"), hosts))


@pytest.mark.timeout(3600, func_only=True)
def test_capture(capture: Capture, replay: Replaying) -> None:
    """The guest and its driver get through the packets of a capture."""
    replay(capture=capture)
