"""Wine on this host, with a prefix that is thrown away: for tests and benchmarks of PE programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_IDLE_SECONDS = 300
# To start Wine takes 2 s on a quiet host.
_START_SECONDS = 100
# Where Debian keeps Wine's own programs and libraries: Windows finds them by names in a prefix, and this one is empty.
WINE_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
_PATH = f"/usr/lib/wine:{os.environ['PATH']}"


@dataclass(frozen=True)
class Wine:
    """How to start a PE program on this host."""

    program: str
    environment: dict[str, str]


@contextmanager
def throwaway_wine(home: Path) -> Iterator[Wine | None]:
    """Wine whose prefix is `home`/prefix, in which there may be something already; None where there is no Wine.

    A prefix is 700 MB of copies of Wine's own libraries, and takes 8 s to make. In bootstrap mode, in which Wine fills
    a prefix, it loads the libraries from where they are installed: an empty prefix does, marked so that it stays empty.
    """
    program, server = shutil.which("wine64", path=_PATH), shutil.which("wineserver", path=_PATH)
    if program is None or server is None:
        yield None
        return
    prefix = home / "prefix"
    (prefix / "drive_c" / "windows" / "system32").mkdir(parents=True, exist_ok=True)
    (prefix / ".update-timestamp").write_text("disable\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "WINEPREFIX": str(prefix),
        "WINEBOOTSTRAPMODE": "1",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
        "TMPDIR": str(home),
    }
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        # Debian's server ends with the last program, and the next one may come while it does: this one stays a while.
        subprocess.run([server, f"-p{_IDLE_SECONDS}"], env=environment, check=True, timeout=_START_SECONDS, **silent)
        # The first program starts Wine's services.exe, which keeps that program's output open for as long as the server
        # stays: it must not be a program whose output a test reads to its end.
        first = [program, WINE_LIBRARIES / "hostname.exe"]
        subprocess.run(first, env=environment, check=True, timeout=_START_SECONDS, **silent)
        # One that waits for words that never come keeps the server for as long as this process lives, however long the
        # tests without Wine take that stand between two with it.
        waiting = [program, WINE_LIBRARIES / "cmd.exe"]
        with subprocess.Popen(waiting, env=environment, **silent | {"stdin": subprocess.PIPE}) as keeper:
            try:
                yield Wine(program, environment)
            finally:
                keeper.kill()
    finally:
        subprocess.run([server, "-k"], env=environment, check=False, timeout=_START_SECONDS, **silent)
