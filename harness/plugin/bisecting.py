"""A bisection on guests: each build is deployed in a guest of its own, and the capture attempted with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.capture import Capture
from harness.config import load_profile
from harness.driver import load_package_for
from harness.errors import DriverPackageError, DriverStartError, HostError
from harness.minimise.bisect import Finding, Judged, Mark, bisect
from harness.minimise.builds import Build, Series
from harness.minimise.smaller import without_pauses
from harness.minimise.tries import Journal, Tries
from harness.plugin.minimising import JOURNAL, Wish
from harness.plugin.options import RunOptions
from harness.plugin.trying import inputs_of, machine_folder, open_trials, settled_guest
from harness.reproduce import Timing


def bisect_on_guests(
    capture: Capture,
    series: Series,
    options: RunOptions,
    wish: Wish,
    tell: Callable[[Judged, int], None] | None = None,
) -> Finding:
    """Find the first bad build; a build that does not load is skipped, and says why.

    With `wish.votes` above 1 a build is good when it fails in none of so many attempts, and bad at the first that does.
    Raises UsageError when the newest build is good or the oldest bad.
    """
    settings = settled_guest(capture, wish.settings)
    whole = capture if settings.timing is Timing.CAPTURE else without_pauses(capture, ())
    out = machine_folder(options.out)
    folder = load_profile(options.guest).folder

    def judge(build: Build) -> tuple[Mark, str]:
        try:
            load_package_for(build.path, folder)
            with open_trials(replace(options, driver=build.path, out=_own(out, build)), settings) as trials:
                journal = Journal(_own(out, build) / JOURNAL, inputs_of(trials, options, settings))
                tries = Tries(trials.runners, wish.criterion, journal)
                seen = []
                for wanted in range(1, max(wish.votes, 1) + 1):
                    seen = list(tries.verdicts(whole, wanted))
                    if wish.criterion.holds(seen[-1]):
                        return Mark.BAD, str(seen[-1])
                return Mark.GOOD, f"{seen[-1]}" + (f", {len(seen)} times" if len(seen) > 1 else "")
        except (DriverStartError, DriverPackageError) as error:
            return Mark.SKIPPED, error.message
        except HostError as error:
            return Mark.SKIPPED, f"the host failed: {error.message}"

    return bisect(series.builds, judge, tell)


def _own(out: Path, build: Build) -> Path:
    return machine_folder(out / "builds" / build.sha256[:16])
