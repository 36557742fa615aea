"""Cycles of revert and run in one process: nothing may grow, every outcome is the same: `python -m benchmarks.soak`.

A cycle is what a scenario is: the guest put back, a redirected connect, the fence, the checks, its folder of records.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import load, running_bench
from harness.expect import expect
from harness.hypervisor.qemu_process import find_process
from harness.plugin.bench import GuestBench
from harness.plugin.recording import open_scene
from harness.report import ScenarioFolder, outcome_of

_EVERY = 50
_MEANT = "198.51.100.5:80"
# What a process may take up after the first sample: allocators keep what they were given once.
_SLACK_MIB = 24
_SLACK_DISK_MIB = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """Of the harness and of QEMU; `disk` is what the overlay and the serial log really take."""

    rss: float
    fds: int
    threads: int
    qemu_rss: float
    qemu_fds: int
    qemu_threads: int
    disk: float

    @classmethod
    def of(cls, bench: GuestBench) -> Sample:
        """Look now; memory and disk in MiB."""
        qemu = find_process(bench.machine.name)
        assert qemu is not None
        files = [bench.machine.disk, bench.serial_log]
        return cls(
            rss=_rss(os.getpid()),
            fds=_count(os.getpid(), "fd"),
            threads=threading.active_count(),
            qemu_rss=_rss(qemu),
            qemu_fds=_count(qemu, "fd"),
            qemu_threads=_count(qemu, "task"),
            disk=sum(path.stat().st_blocks * 512 for path in files) / 2**20,
        )

    def __str__(self) -> str:
        return (
            f"harness {self.rss:6.1f} MiB, {self.fds:3} descriptors, {self.threads:2} threads; "
            f"QEMU {self.qemu_rss:6.1f} MiB, {self.qemu_fds:3}, {self.qemu_threads:2}; disk {self.disk:6.1f} MiB"
        )


def soak(cycles: int, *, every: int = _EVERY) -> tuple[list[Sample], Counter[str]]:
    """Samples after the first cycle and after every so many; outcomes by name."""
    outcomes: Counter[str] = Counter()
    samples: list[Sample] = []
    with running_bench() as bench:
        for number in range(1, cycles + 1):
            outcomes[_cycle(bench)] += 1
            if number == 1 or number % every == 0:
                samples.append(Sample.of(bench))
                print(f"  {number:4} cycles: {samples[-1]}; {dict(outcomes)}", flush=True)
    return samples, outcomes


def grown(samples: list[Sample]) -> list[str]:
    """What is more at the end than after the first quarter, by more than an allocator's whims."""
    first, last = samples[len(samples) // 4], samples[-1]
    limits = {"rss": _SLACK_MIB, "qemu_rss": _SLACK_MIB, "disk": _SLACK_DISK_MIB}
    found = []
    for name in Sample.__slots__:
        before, after = getattr(first, name), getattr(last, name)
        if after > before + limits.get(name, 2):
            found.append(f"{name} grew from {before:.1f} to {after:.1f}")
    return found


def _cycle(bench: GuestBench) -> str:
    folder = ScenarioFolder(bench.options.out, "scenarios/soak.py::cycle")
    try:
        bench.fresh()
        with open_scene(bench, folder) as scene:
            assert bench.control is not None
            proxy = bench.probe.tcp_listen("127.0.0.1:8080")
            bench.control.redirect("tcp", remote=_MEANT, to=proxy)
            client = bench.probe.tcp_connect(_MEANT)
            scene.fence()
            expect(client).connected()
            expect(scene.witness).none(dst="198.51.100.5")
            expect(scene.trace).one(kind="redirect", status="STATUS_SUCCESS", redirected_to=proxy)
            scene.check(may_stop_driver=False)
    except Exception as error:  # an outcome, whatever it is
        return f"{outcome_of(bench.diagnose(error))}: {error}"
    finally:
        shutil.rmtree(folder.path)
    return "PASS"


def _rss(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _count(pid: int, what: str) -> int:
    return len(list(Path(f"/proc/{pid}/{what}").iterdir()))


def main(cycles: int = 500) -> None:
    """Print what is taken every fifty cycles, and what grew. SystemExit where something did or did not pass."""
    samples, outcomes = soak(cycles)
    trouble = grown(samples)
    print(f"  {cycles} cycles: {dict(outcomes)}; {'; '.join(trouble) or 'nothing grew'}; {load()}", flush=True)
    if trouble or set(outcomes) != {"PASS"}:
        raise SystemExit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
