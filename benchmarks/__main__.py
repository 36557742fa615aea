"""`make bench` and `make endurance`: the benchmarks of this folder, after a line that describes the machine."""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys
from pathlib import Path

import benchmarks

# These take an hour or more together: they look for what comes once in thousands of times.
ENDURANCE = ("blame", "chaos", "engine_fuzz", "engine_stress", "hostile_guest", "soak")
_NO_BENCHMARKS = ("__main__", "bench", "engine")


def describe_host() -> str:
    """Processor, cores, memory, kernel: what a figure is worth without."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def main(kind: str = "figures") -> None:
    """Run those of a kind in the order of their names."""
    print(describe_host())
    names = {found.name for found in pkgutil.iter_modules(benchmarks.__path__)} - {*_NO_BENCHMARKS}
    chosen = names & {*ENDURANCE} if kind == "endurance" else names - {*ENDURANCE}
    for name in sorted(chosen):
        print(f"\n{name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main(*sys.argv[1:])
