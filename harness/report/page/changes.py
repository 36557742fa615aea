"""What is another than in the run before: the first thing that a person wants to know of a nightly run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.outcome import Outcome
from harness.report.signature import signature_of

_SLOWER_FACTOR = 1.5
_SLOWER_SECONDS = 1.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A scenario that came to something else than before, or took longer; `was` and `now` in words.

    `guest` is where it ran: of a night the cell.
    """

    scenario: str
    guest: str
    was: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed, by kind; each in the order of this run."""

    newly_failing: tuple[Change, ...] = ()
    newly_passing: tuple[Change, ...] = ()
    otherwise: tuple[Change, ...] = ()
    slower: tuple[Change, ...] = ()
    added: tuple[Change, ...] = ()
    gone: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return any((self.newly_failing, self.newly_passing, self.otherwise, self.slower, self.added, self.gone))


def changes(before: Mapping[Key, tuple[Outcome, float]], now: Mapping[Key, tuple[Outcome, float]]) -> Changes:
    """Hold two runs against each other: (scenario, guest) to the last attempt's outcome and its seconds.

    A retry that passed counts as a pass here, as in the exit code; the page shows both attempts. Slower is what passed
    both times and took half as long again and a second more.
    """
    kinds: dict[str, list[Change]] = {
        name: [] for name in ("newly_failing", "newly_passing", "otherwise", "slower", "added", "gone")
    }
    for key, (outcome, seconds) in now.items():
        if key not in before:
            kinds["added"].append(_change(key, "", str(outcome)))
            continue
        was, took = before[key]
        if was is outcome:
            if outcome is Outcome.PASS and seconds > took * _SLOWER_FACTOR and seconds > took + _SLOWER_SECONDS:
                kinds["slower"].append(_change(key, f"{took:.2f} s", f"{seconds:.2f} s"))
        elif outcome.blames_driver and not was.blames_driver:
            kinds["newly_failing"].append(_change(key, str(was), str(outcome)))
        elif outcome is Outcome.PASS and was.blames_driver:
            kinds["newly_passing"].append(_change(key, str(was), str(outcome)))
        else:
            kinds["otherwise"].append(_change(key, str(was), str(outcome)))
    kinds["gone"] = [_change(key, str(was), "") for key, (was, _) in before.items() if key not in now]
    return Changes(**{name: tuple(found) for name, found in kinds.items()})


def signatures(messages: Sequence[str]) -> tuple[str, ...]:
    """The signatures of crashes, each once."""
    found = (signature_of(message) for message in messages)
    return tuple(dict.fromkeys(str(each) for each in found if each is not None))


def _change(key: Key, was: str, now: str) -> Change:
    return Change(scenario=key[0], guest=key[1], was=was, now=now)
