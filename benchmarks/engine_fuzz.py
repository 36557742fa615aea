"""A million frames changed at random, segments of edited streams, lists whose lengths are lies: against the engine."""

from __future__ import annotations

import time

from benchmarks.engine import built, engine_wine, run
from tests.model.frames import corpus, pack

FRAMES = 1_000_000


def main() -> None:
    """The seed is the day's, so that each day tries others; it is printed to be tried again."""
    seed = int(time.time()) // 86400
    program = built("engine_fuzz.exe")
    with engine_wine() as wine:
        began = time.monotonic()
        said = run(wine, program, "mutate", str(FRAMES), str(seed), stdin=pack(corpus()))
        print(f"  seed {seed}: {said.strip()}, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
