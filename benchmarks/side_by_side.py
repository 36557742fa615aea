"""Two reference guests side by side against one: the same two cells of a night, with room for one and for both."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from benchmarks.bench import load
from harness import process
from harness.nightly.night import nights
from harness.nightly.state import read_state
from harness.ownership import temporary_folder
from harness.waiting import Deadline
from tests.running import WFP_HIL

_SECONDS = 1800.0
_WAITING = Path(__file__).with_name("waiting")
_MATRIX = """
[matrix]
guests = ["reference"]

[scenarios]
first = {words}
second = {words}

[run]
fresh = "session"

[budget]
cores = {cores}
"""


def main() -> None:
    """With guests that work, as far as there are cores for two; with guests that wait, anywhere."""
    cores = os.cpu_count() or 1
    _compare("guests that wait for most of the time", [str(_WAITING)])
    _compare(f"guests that work, on {cores} cores", ["scenarios/redirect/test_matrix.py"])


def _compare(title: str, words: list[str]) -> None:
    alone, both = _makespan(words, 1), _makespan(words, min(2, os.cpu_count() or 1))
    print(
        f"  {title}: one machine {alone:.1f} s, two {both:.1f} s: {alone / both:.2f} times as fast "
        f"(wanted: 1.8 where cores allow); {load()}",
        flush=True,
    )


def _makespan(words: list[str], cores: int) -> float:
    """Seconds from the begin of the first cell to the end of the last."""
    with temporary_folder("bench", passable=True) as folder:
        matrix = folder / "m.toml"
        matrix.write_text(_MATRIX.format(words=words, cores=cores))
        argv = [WFP_HIL, "nightly", matrix, "--out", folder / "nights"]
        done = process.run([*argv, "--history", "off"], deadline=Deadline(_SECONDS), check=False)
        if done.exit_code:
            print(f"  the night ended with {done.exit_code}:\n{done.stderr[-2000:]}", flush=True)
        (night,) = nights(folder / "nights")
        cells = read_state(night).cells
    began = [datetime.fromisoformat(cell.started).timestamp() for cell in cells]
    return max(start + cell.seconds for start, cell in zip(began, cells, strict=True)) - min(began)


if __name__ == "__main__":
    main()
