"""The demonstration: a planted fault, from a capture of some thousand packets to a few, and to the first bad build.

`python -m benchmarks.minimise [connections]`: wanted are fewer than ten packets in less than ten minutes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.bench import load
from harness.capture import Capture
from harness.minimise.bisect import Judged
from harness.minimise.builds import find_builds
from harness.minimise.criterion import parse_criterion
from harness.minimise.tries import Told, Tries
from harness.ownership import temporary_folder
from harness.plugin.bisecting import bisect_on_guests
from harness.plugin.minimising import Wish, minimise_on_guests
from harness.plugin.options import RunOptions
from harness.plugin.trying import Trials
from harness.reproduce import Settings
from tests.minimise.field import field_capture
from tests.minimise.planted.builds import BUILDS, FIRST_BAD, build_series

_WANTED_PACKETS = 10
_WANTED_SECONDS = 600
_CONNECTIONS = 120
_PATIENCE = 5.0


class Printed:
    """A search as lines with a clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.slowest = 0.0

    def _say(self, text: str) -> None:
        print(f"  {time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    def begun(self, trials: Trials) -> None:
        """The guests are ready."""
        self._say(f"ready; {trials.facts['accelerator']}, boot {trials.facts['boot']}")

    def reproduced(self, words: str) -> None:
        """The whole capture fails."""
        self._say(words)

    def stage(self, name: str, best: Capture) -> None:
        """Another kind of thing is left out."""
        self._say(f"{name}: {len(best)} packets")

    def tried(self, told: Told, tries: Tries) -> None:
        """One more try."""
        self.slowest = max(self.slowest, told.seconds)
        word = "fails" if told.fails else "does not"
        self._say(f"  try {tries.made}: {len(told.capture)} packets: {word} ({told.seconds:.1f} s)")

    def better(self, best: Capture) -> None:
        """A smaller one fails."""


def options(out: Path, driver: Path | None) -> RunOptions:
    """A run on the reference guest."""
    return RunOptions(guest="reference", driver=driver, nic=None, fresh="test", reuse_boot=True, out=out)


def demonstrate(folder: Path, connections: int) -> None:
    """Search, then bisect; prints what each took."""
    capture = field_capture(connections=connections, culprit=connections * 3 // 5)
    source = folder / "field.pcapng"
    capture.write(source)
    began = time.monotonic()
    drivers = build_series(folder / "drivers")
    print(f"  {BUILDS} builds of the driver in {time.monotonic() - began:.1f} s; {len(capture)} packets; {load()}")

    wish = Wish(criterion=parse_criterion("crash"), settings=Settings(patience=_PATIENCE))
    began = time.monotonic()
    view = Printed()
    result = minimise_on_guests(capture, source, options(folder / "minimise", drivers[-1]), wish, view)
    seconds = time.monotonic() - began
    print(
        f"  minimised: {len(capture)} to {len(result.capture)} packets (wanted: fewer than {_WANTED_PACKETS}) in "
        f"{seconds:.0f} s (wanted: {_WANTED_SECONDS}), {result.tries} tries, {result.attempts} attempts, the slowest "
        f"{view.slowest:.1f} s; {result.verdict} in {result.confirmed}; {load()}",
        flush=True,
    )

    def tell(judged: Judged, left: int) -> None:
        print(
            f"  {time.monotonic() - began:6.1f} s  {judged.mark} {judged.build}: {judged.why} ({left} left)", flush=True
        )

    began = time.monotonic()
    series = find_builds(folder / "drivers")
    finding = bisect_on_guests(result.capture, series, options(folder / "bisect", None), wish, tell)
    print(
        f"  bisected by {series.ordered_by} in {time.monotonic() - began:.0f} s (wanted: build {FIRST_BAD}): {finding}"
    )


def main(connections: int = _CONNECTIONS) -> None:
    """Print the demonstration's figures."""
    with temporary_folder("bench", passable=True) as folder:
        demonstrate(folder, connections)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _CONNECTIONS)
