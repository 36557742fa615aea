"""The main job as a user starts it, with the image in the cache: `python -m benchmarks.main_job`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench import load
from harness import process
from harness.waiting import Deadline

_SECONDS = 1200.0


def main() -> None:
    """Once with a boot, once from the state that the first one kept."""
    for words in (["--cold"], []):
        with tempfile.TemporaryDirectory(prefix="wfp-hil-bench-") as folder:
            Path(folder).chmod(0o755)
            out = Path(folder) / "out"
            before, began = load(), time.perf_counter()
            argv = [Path(sys.executable).parent / "wfp-hil", "run", "--guest", "reference", "--out", out, *words]
            done = process.run(argv, deadline=Deadline(_SECONDS), check=False)
            took = time.perf_counter() - began
            records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        results = [record for record in records if record["record"] == "result"]
        session = next(record for record in records if record["record"] == "session")
        each = sorted(sum(record["seconds"].values()) for record in results[1:])  # the first one has the boot in it
        passed = sum(record["outcome"] == "PASS" for record in results)
        print(
            f"  {passed} of {len(results)} scenarios passed, exit code {done.exit_code}, boot {session.get('boot')}, "
            f"{before}: {took:.1f} s; of it {took - sum(each):.1f} s until the first scenario had run, "
            f"then each {each[0]:.2f} / {each[len(each) // 2]:.2f} / {each[-1]:.2f} s (min/median/max)",
            flush=True,
        )
        if results:
            print(f"  25 scenarios at the median: {took - sum(each) + 24 * each[len(each) // 2]:.1f} s (wanted: 45)")


if __name__ == "__main__":
    main()
