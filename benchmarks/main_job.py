"""The main job as a user starts it, with the image in the cache: `python -m benchmarks.main_job`."""

from __future__ import annotations

import time

from benchmarks.bench import load
from harness.ownership import temporary_folder
from tests.running import run_scenarios

_SECONDS = 1200.0
_FEW = 25


def main() -> None:
    """All scenarios, and 25 of them with a boot and from the state that it kept: whole commands, by the clock."""
    ran = _run("all")
    step = max(1, len(ran) // _FEW)
    few = ran[::step][:_FEW]
    _run(f"{len(few)} of them", *few, "--cold")
    _run(f"{len(few)} of them (wanted: 45 s)", *few)


def _run(title: str, *words: str) -> list[str]:
    """The scenarios that ran, after a line about how long it took."""
    with temporary_folder("bench", passable=True) as folder:
        out = folder / "out"
        before, began = load(), time.perf_counter()
        done = run_scenarios(out, "--guest", "reference", *words, seconds=_SECONDS)
        took = time.perf_counter() - began
        results = done.results
        machines = len(list((out / "machines").glob("*"))) or 1
    passed = sum(record["outcome"] == "PASS" for record in results)
    each = sorted(sum(record["seconds"].values()) for record in results)[: -machines or None]  # without those that boot
    middle = f"{each[len(each) // 2]:.2f}" if each else "-"
    print(
        f"  {title}: {took:.1f} s; {passed} of {len(results)} passed, exit code {done.exit_code}, "
        f"machines: {machines}, median of a scenario {middle} s, {before}",
        flush=True,
    )
    return [record["scenario"] for record in results if record["outcome"] == "PASS"]


if __name__ == "__main__":
    main()
