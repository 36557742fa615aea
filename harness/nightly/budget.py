"""What a cell takes of this host, and how much a night may take at once: admission, never oversubscription."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.config import cache_root
from harness.nightly.cells import Cell
from harness.nightly.matrix import Matrix
from harness.process import free_memory_mib

_BESIDE_MIB = 512  # of memory a machine: QEMU's translations and the harness
_HOST_MEMORY_MIB = 1024  # left to the host where the matrix says nothing
_HOST_DISK_MIB = 2048
_RESULTS_MIB = 512  # of disk a machine: captures, logs, the overlay's own writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cores, and MiB of memory and disk."""

    cores: int = 0
    memory_mib: int = 0
    disk_mib: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            cores=self.cores + other.cores,
            memory_mib=self.memory_mib + other.memory_mib,
            disk_mib=self.disk_mib + other.disk_mib,
        )

    def lacks(self, room: Cost) -> str:
        """What of it does not fit into this room, in words; '' if all fits."""
        short = [
            f"{need} {unit}, of which there are {have}"
            for need, have, unit in (
                (self.cores, room.cores, "cores"),
                (self.memory_mib, room.memory_mib, "MiB of memory"),
                (self.disk_mib, room.disk_mib, "MiB of disk"),
            )
            if need > have
        ]
        return " and ".join(short)

    def fits(self, room: Cost) -> bool:
        """Whether all of it fits into this room."""
        return not self.lacks(room)


def total(costs: Iterable[Cost]) -> Cost:
    """All of them together."""
    return sum(costs, Cost())


def cost_of(cell: Cell) -> Cost:
    """What one cell takes while it runs.

    A guest keeps each of its processors busy at worst. On the disk lie what it writes, a snapshot with its memory, and
    after a crash a dump of that size.
    """
    machine = cell.profile.machine
    each = Cost(
        cores=machine.vcpus,
        memory_mib=machine.memory_mib + _BESIDE_MIB,
        disk_mib=2 * machine.memory_mib + _RESULTS_MIB,
    )
    return total([each] * cell.machines)


def free_room(out: Path) -> Cost:
    """What this host has free now; disk is the least of where images and results lie."""
    return Cost(cores=os.cpu_count() or 1, memory_mib=free_memory_mib(), disk_mib=_free_disk(out))


def budget_of(matrix: Matrix, cells: Iterable[Cell], room: Cost) -> Cost:
    """What the night may take at once.

    Raises ConfigError when the matrix asks for more than the host has, or has a cell that would never fit.
    """
    asked = matrix.budget
    for key, wanted, have in (
        ("cores", asked.cores, room.cores),
        ("memory_mib", asked.memory_mib, room.memory_mib),
        ("disk_mib", asked.disk_mib, room.disk_mib),
    ):
        if wanted is not None and wanted > have:
            raise matrix.wrong(f"budget.{key}", f"it is {wanted}, and this host has {have} free")
    budget = Cost(
        cores=asked.cores or room.cores,
        memory_mib=asked.memory_mib or max(0, room.memory_mib - _HOST_MEMORY_MIB),
        disk_mib=asked.disk_mib or max(0, room.disk_mib - _HOST_DISK_MIB),
    )
    for cell in cells:
        if not cell.refused and (lack := cost_of(cell).lacks(budget)):
            raise matrix.wrong(
                "budget", f"the cell '{cell.id}' takes {lack}", "Give it more, fewer run.machines, or a smaller guest."
            )
    return budget


def _free_disk(out: Path) -> int:
    free = []
    for place in (cache_root(), out):
        existing = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
        free.append(shutil.disk_usage(existing).free >> 20)
    return min(free)
