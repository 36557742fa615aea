"""From a fault in a driver to the event on this host, for each deliberate crash: `python -m benchmarks.crash [ROUNDS]`.

Upper bounds: the guest's clock is tied to the host's by an event that is certainly later than it is taken to be.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bench import show

ROOT = Path(__file__).parents[1]
_LIMIT = 2.0


def main(rounds: int = 1) -> None:
    """All scenarios of scenarios/crash, so often."""
    seconds: list[float] = []
    crashes = 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="wfp-hil-bench-crash-") as folder:
            out = Path(folder) / "out"
            command = [Path(sys.executable).parent / "wfp-hil", "run", "scenarios/crash", "--out", out]
            subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
            results = map(json.loads, (out / "results.jsonl").read_text().splitlines())
            crashes += sum(record["record"] == "result" and record["outcome"] == "PASS" for record in results)
            found = [json.loads(path.read_text()) for path in out.rglob("crash.json")]
            seconds += [record["recognised_seconds"] for record in found if record["recognised_seconds"] is not None]
    show("fault to the event on this host", seconds, "each below 2000")
    print(f"  {crashes} crashes recognised with all parts, {sum(value > _LIMIT for value in seconds)} later than 2 s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
