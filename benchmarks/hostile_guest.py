"""What guests and users may send, at random and for long: the tests of `make test`, with thousands of examples."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

TESTS = (
    "tests/security/test_hostile_guest.py", "tests/security/test_files_of_the_user.py", "tests/link/test_framing.py",
    "tests/link/test_headers.py", "tests/link/test_wire.py", "tests/traffic/test_reassembly.py",
    "tests/traffic/test_tcp.py", "tests/guest/test_state_xml.py", "tests/guest/test_winrm_hostile.py",
    "tests/history", "tests/driver/test_contract.py",
)  # fmt: skip


def main() -> None:
    """The seed is the day's, so that each day tries others; it is printed to be tried again."""
    seed = int(time.time()) // 86400
    began = time.monotonic()
    words = ["--hypothesis-profile=search", f"--hypothesis-seed={seed}", "--timeout=1800"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words, *TESTS], cwd=Path(__file__).parents[1], check=False
    )
    print(f"  seed {seed}: exit code {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
