"""What the harness itself takes for a scenario that does nothing: `python -m benchmarks.overhead`.

All of a scenario but the revert and the waiting for the guest: what the processor spends in this process. QEMU runs
in another one, so that its work is not in the figure.
"""

from __future__ import annotations

import sys
import time

from benchmarks.bench import running_bench, show
from harness.ownership import temporary_folder
from harness.plugin.recording import open_scene
from harness.report import ScenarioFolder


def main(count: int = 20) -> None:
    """An empty scenario with all that surrounds it."""
    walls, own = [], []
    with running_bench() as bench, temporary_folder("bench") as folder:
        for number in range(count):
            began, spent = time.perf_counter(), time.process_time()
            bench.fresh()
            with open_scene(bench, ScenarioFolder(folder, f"empty-{number}", 1)) as scene:
                scene.fence()
                scene.check(may_stop_driver=False)
            walls.append(time.perf_counter() - began)
            own.append(time.process_time() - spent)
    show("an empty scenario: revert, fence, checks", walls)
    show("of it in the harness", own, "below 100")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
