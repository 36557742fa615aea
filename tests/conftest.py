"""What several folders of tests share: Wine on this host."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import hypothesis
import pytest

# How long an example takes, or to make one, is the host's business: it may be busy with machines. The same examples
# each time, so that a failing test says something of the change it is run for; to look for more, choose the other
# profile: pytest --hypothesis-profile=search.
_BUSY_HOST = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("any-host", derandomize=True, **_BUSY_HOST)
hypothesis.settings.register_profile("search", max_examples=2000, print_blob=True, **_BUSY_HOST)
hypothesis.settings.load_profile("any-host")

_PATH = f"/usr/lib/wine:{os.environ['PATH']}"


@dataclass(frozen=True)
class Wine:
    """How to start a PE program on this host."""

    program: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """Wine with a prefix that is thrown away.

    A prefix is 700 MB of copies of Wine's own libraries, and takes 8 s to make. In bootstrap mode, in which Wine fills
    a prefix, it loads the libraries from where they are installed: an empty prefix does, marked so that it stays empty.
    """
    program, server = shutil.which("wine64", path=_PATH), shutil.which("wineserver", path=_PATH)
    if program is None or server is None:
        pytest.skip("no Wine here")
    home = tmp_path_factory.mktemp("wine")
    prefix = home / "prefix"
    (prefix / "drive_c" / "windows" / "system32").mkdir(parents=True)
    (prefix / ".update-timestamp").write_text("disable\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "WINEPREFIX": str(prefix),
        "WINEBOOTSTRAPMODE": "1",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
    }
    yield Wine(program, environment)
    subprocess.run([server, "-k"], env=environment, check=False, timeout=30)
