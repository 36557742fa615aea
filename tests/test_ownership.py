"""A process that belongs to another ends with it, also when nobody can tell it to."""

from __future__ import annotations

import os
import select
import subprocess
import sys

CHILD = """
import os, signal
from harness.ownership import end_with_parent
end_with_parent()
os.write(1, b"x")
signal.pause()
"""
PARENT = f"""
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
child.stdout.read(1)
print(child.pid, flush=True)
signal.pause()
"""


def test_a_process_ends_with_the_one_that_started_it() -> None:
    """By whatever signal: SIGKILL leaves the parent no time to say anything."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert not select.select([child], [], [], 0)[0], "it has ended before its parent"
            parent.kill()
            assert select.select([child], [], [], 20)[0], "it outlives its parent"
        finally:
            os.close(child)
