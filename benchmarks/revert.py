"""From the order to go back to a snapshot until the guest answers over WinRM: `python -m benchmarks.revert`."""

from __future__ import annotations

import sys
import time

from benchmarks.bench import running_bench, show
from harness.waiting import Deadline

_SECONDS = 20.0


def main(count: int = 20) -> None:
    """Each time a fresh revert, with what a scenario leaves behind undone by it."""
    reverts, answers, wholes = [], [], []
    with running_bench() as bench:
        for _ in range(count):
            bench.stations.reset()
            began = time.perf_counter()
            bench.machine.revert("warm")
            reverted = time.perf_counter()
            bench.link.drain(Deadline(_SECONDS))
            bench.guest.reverted()
            bench.probe.hello()
            answered = time.perf_counter()
            reverts.append(reverted - began)
            answers.append(answered - reverted)
            wholes.append(answered - began)
    show("QEMU's revert", reverts)
    show("new WinRM connections and the first answer", answers)
    show("revert to first WinRM answer", wholes, "median below 1000")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
