"""A bench for the benchmarks that need a guest, and how their figures are printed."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from harness.ownership import temporary_folder
from harness.plugin.bench import GuestBench, open_guest_bench
from harness.plugin.options import RunOptions


@contextmanager
def running_bench(*, cold: bool = False) -> Iterator[GuestBench]:
    """The reference guest with the driver started in it, as scenarios get it."""
    with temporary_folder("bench", passable=True) as folder:
        options = RunOptions(
            guest="reference", driver=None, nic=None, fresh="test", reuse_boot=not cold, out=folder / "out"
        )
        with open_guest_bench(options) as bench:
            assert isinstance(bench, GuestBench)
            print(f"  guest: {bench.facts['accelerator']}, boot {bench.facts['boot']}; {load()}", flush=True)
            yield bench


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def show(name: str, seconds: Sequence[float], wanted: str = "") -> None:
    """One line: minimum, median and maximum in milliseconds, and how many were measured."""
    low, middle, high = (value * 1000 for value in (min(seconds), statistics.median(seconds), max(seconds)))
    print(
        f"  {name:<46} min {low:8.1f}  median {middle:8.1f}  max {high:8.1f} ms  n = {len(seconds)}"
        + (f"  (wanted: {wanted})" if wanted else ""),
        flush=True,
    )


def load() -> str:
    """What else this machine is busy with."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
