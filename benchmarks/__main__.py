"""`make bench`: every benchmark of this folder, after a line that describes the machine."""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
from pathlib import Path

import benchmarks


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


def main() -> None:
    """Run them in the order of their names."""
    print(describe_host())
    for module in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda found: found.name):
        if module.name not in ("__main__", "bench", "engine"):
            print(f"\n{module.name}", flush=True)
            importlib.import_module(f"benchmarks.{module.name}").main()


if __name__ == "__main__":
    main()
