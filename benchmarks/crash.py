"""From a fault in a driver to the event on this host, for each deliberate crash: `python -m benchmarks.crash [ROUNDS]`.

Upper bounds: the guest's clock is tied to the host's by an event that is certainly later than it is taken to be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import load, show
from harness.ownership import temporary_folder
from tests.running import run_scenarios

_LIMIT, _SECONDS = 2.0, 1200.0


def main(rounds: int = 1) -> None:
    """All scenarios of scenarios/crash, so often. Ends with an error when one is missed, late, or lacks a part."""
    seconds: dict[str, list[float]] = {}
    wrong: list[str] = []
    for _ in range(rounds):
        with temporary_folder("bench-crash") as folder:
            for result in _run(folder / "out"):
                name = str(result["scenario"]).partition("::")[2]
                record = _record(result)
                late = record.get("recognised_seconds")
                if result["outcome"] != "PASS":
                    wrong.append(f"{name}: {result['outcome']}: {result['message']}")
                elif not isinstance(late, float):
                    wrong.append(f"{name}: no time is known")
                else:
                    seconds.setdefault(name, []).append(late)
                    if late > _LIMIT:
                        wrong.append(f"{name}: recognised {late:.2f} s after the fault")
    print(f"  {load()}")
    for name, values in sorted(seconds.items()):
        show(name, values)
    show("fault to the event on this host", [late for values in seconds.values() for late in values], "each below 2000")
    if wrong:
        sys.exit("\n".join(["Not as wanted:", *wrong]))


def _run(out: Path) -> list[dict[str, Any]]:
    return run_scenarios(out, "scenarios/crash", seconds=_SECONDS).results


def _record(result: dict[str, Any]) -> dict[str, Any]:
    path = Path(str(result["folder"])) / "crash.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return record


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
