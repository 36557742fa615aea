"""Control round trips through WinRM and the probe: `python -m benchmarks.round_trip`."""

from __future__ import annotations

import sys

from benchmarks.bench import running_bench, show, timed
from harness.waiting import Deadline


def main(count: int = 100) -> None:
    """The probe alone, the driver through it, and for comparison the link."""
    with running_bench() as bench:
        show("probe", [timed(bench.probe.hello) for _ in range(count)], "median below 50")
        show("driver: version", [timed(bench.control.version) for _ in range(count)])
        show("driver: drain", [timed(bench.control.drain) for _ in range(count)])
        show("driver: read its events", [timed(bench.control.read_events) for _ in range(count)])
        show("ping over the link", [timed(lambda: bench.stations.ping(Deadline(20))) for _ in range(count)])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
