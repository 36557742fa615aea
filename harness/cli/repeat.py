"""`wfp-hil reproduce --until ...`: attempts at a capture until one comes to what is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli import field
from harness.errors import UsageError
from harness.report import Outcome

if TYPE_CHECKING:
    from harness.capture import Capture
    from harness.minimise.criterion import Criterion
    from harness.plugin.options import RunOptions
    from harness.reproduce import Settings

_MOST = 100_000
_FOUND = "found.pcapng"


def seeds_of(text: str) -> range:
    """'0', '7' or '1-20'; raises UsageError for what is neither."""
    first, dash, last = text.partition("-")
    if first.isdecimal() and (last.isdecimal() if dash else not last) and len(text) < 20:
        found = range(int(first), int(last or first) + 1)
        if 0 < len(found) <= _MOST:
            return found
    raise UsageError(f"'{text}' is no range of seeds.", hint="Write --seeds 7, or --seeds 1-20.")


def repeat_until(
    capture: Capture, criterion: Criterion, options: RunOptions, settings: Settings,
    seeds: range, repeat: int,
) -> int:  # fmt: skip
    """Attempt it under each seed so often; stops at the first attempt that is looked for.

    The exit code: 1 then, else 0, and 3 where every attempt was lost.
    """
    from collections import Counter

    from harness.minimise.seeds import interleaved
    from harness.minimise.tries import Journal, Tries
    from harness.plugin.minimising import JOURNAL
    from harness.plugin.trying import inputs_of, machine_folder, open_trials, settled_guest

    settings = settled_guest(capture, settings)
    out, teller = machine_folder(options.out), field.Teller()
    counts: Counter[Outcome] = Counter()
    with open_trials(options, settings) as trials:
        journal = Journal(out / JOURNAL, inputs_of(trials, options, settings))
        tries = Tries(trials.runners, criterion, journal)
        for seed in seeds:
            whole = interleaved(capture, seed)
            for number in range(1, repeat + 1):
                verdict = tries.attempt(whole)
                counts[verdict.outcome] += 1
                teller.say(f"seed {seed}, attempt {number} of {repeat}: {verdict}")
                if criterion.holds(verdict):
                    whole.write(out / _FOUND)
                    print(f"It came to '{criterion}' with seed {seed} in attempt {tries.attempts}: {verdict}.")
                    print(verdict.message)
                    print(f"Make it small: wfp-hil minimise {out / _FOUND} --until '{criterion}', and options as here.")
                    return 1
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    print(f"It never came to '{criterion}' in {tries.attempts} attempts: {told}.")
    return 3 if set(counts) == {Outcome.LOST} else 0
