"""Ten minutes of packets on three threads and edited streams on two, while all that concerns them comes and goes."""

from __future__ import annotations

import time

from benchmarks.engine import built, engine_wine, run

SECONDS = 600


def main() -> None:
    """With the engine's assertions on and guard pages; the seed is the day's."""
    seed = int(time.time()) // 86400
    program = built("engine_stress.exe")
    with engine_wine() as wine:
        print(f"  {SECONDS} s, seed {seed}: {run(wine, program, str(SECONDS), str(seed)).strip()}", flush=True)


if __name__ == "__main__":
    main()
