"""What several folders of tests share: Wine on this host, and a folder for QEMU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from harness.ownership import temporary_folder
from tests.wine import Wine, throwaway_wine

# How long an example takes, or to make one, is the host's business: it may be busy with machines. The same examples
# each time, so that a failing test says something of the change it is run for; to look for more, choose the other
# profile: pytest --hypothesis-profile=search.
_BUSY_HOST = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("any-host", derandomize=True, **_BUSY_HOST)
hypothesis.settings.register_profile("search", max_examples=2000, print_blob=True, **_BUSY_HOST)
hypothesis.settings.load_profile("any-host")


# The runs that tests make are nobody's past.
os.environ["WFP_HIL_HISTORY"] = "off"


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """Wine with a prefix that is thrown away."""
    with throwaway_wine(tmp_path_factory.mktemp("wine")) as found:
        if found is None:
            pytest.skip("no Wine here")
        yield found


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that QEMU's own user may enter.

    None of pytest's is one for long: each session that this user begins closes the folder of all sessions again.
    """
    with temporary_folder("test", beside=Path("/var/tmp"), passable=True) as folder:
        yield folder
