"""Packets a second that the model's engine takes on one thread, under Wine without a machine."""

from __future__ import annotations

from benchmarks.engine import built, engine_wine, run

WANTED = 300_000


def main() -> None:
    """One line a case: by the thread's own time, which a busy host does not change, and by the clock."""
    program = built("engine_bench.exe")
    with engine_wine() as wine:
        for line in run(wine, program).splitlines():
            name, count, clock, thread, _ = line.split()
            by_thread, by_clock = int(count) / float(thread), int(count) / float(clock)
            print(
                f"  {name:<30} {by_thread:12,.0f} a second of processor time, {by_clock:12,.0f} of the clock",
                flush=True,
            )
            assert by_thread >= WANTED, f"{name}: {by_thread:,.0f} packets a second are too few; wanted: {WANTED:,}"


if __name__ == "__main__":
    main()
