"""What the attempts of the past say of a scenario: how often it flakes, and which build first failed it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.report import Outcome
from harness.report.circumstances import Circumstances

_LETTERS = {
    Outcome.PASS: ".",
    Outcome.FAIL: "F",
    Outcome.CRASH: "C",
    Outcome.HANG: "H",
    Outcome.LOST: "?",
    Outcome.SKIP: "-",
}


@dataclass(frozen=True, slots=True)
class Past:
    """One attempt at one scenario, as the history has it."""

    scenario: str
    outcome: Outcome
    known: str
    message: str
    seed: str
    started: str
    seconds: float
    folder: str
    guest: str
    image: str
    driver: str
    driver_sha256: str
    driver_version: str
    run: str
    circumstances: Circumstances

    @property
    def build(self) -> str:
        """The driver that ran, in short: its version where it has one, and the beginning of its hash."""
        digest = self.driver_sha256[:12] or "unknown"
        return f"{self.driver_version} ({digest})" if self.driver_version else digest


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstBad:
    """Where a scenario went wrong: the last build that passed, and the first one after it that did not."""

    last_good: Past | None
    first_bad: Past

    @property
    def same_build(self) -> bool:
        """Whether the driver was the same: then it is not a build that broke it."""
        return self.last_good is not None and self.last_good.driver_sha256 == self.first_bad.driver_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One scenario on one kind of guest under the same circumstances; `pasts` oldest first."""

    scenario: str
    guest: str
    circumstances: Circumstances
    pasts: tuple[Past, ...]

    @property
    def last(self) -> Past:
        """The latest attempt."""
        return self.pasts[-1]

    @property
    def counts(self) -> Counter[Outcome]:
        """How often it came to what."""
        return Counter(past.outcome for past in self.pasts)

    @property
    def comparable(self) -> int:
        """How many attempts another one of the same image, driver and seed can be compared with."""
        return sum(len(group) for group in self._groups())

    @property
    def flaked(self) -> int:
        """How many of those came to something else than most of their group did; a tie counts the fewer half."""
        return sum(len(group) - max(Counter(group).values()) for group in self._groups())

    @property
    def flake_rate(self) -> float | None:
        """Flaked ones among the comparable ones, 0 to 1; None where there is nothing to compare."""
        return self.flaked / self.comparable if self.comparable else None

    @property
    def first_bad(self) -> FirstBad | None:
        """Since when it fails, where its last word about the driver is no pass."""
        said = [past for past in self.pasts if past.outcome is Outcome.PASS or past.outcome.blames_driver]
        if not said or said[-1].outcome is Outcome.PASS:
            return None
        good = max((at for at, past in enumerate(said) if past.outcome is Outcome.PASS), default=-1)
        return FirstBad(last_good=said[good] if good >= 0 else None, first_bad=said[good + 1])

    def _groups(self) -> list[list[Outcome]]:
        """Outcomes of the same image, driver and seed, where there are several; only those about the driver."""
        groups: defaultdict[tuple[str, ...], list[Outcome]] = defaultdict(list)
        for past in self.pasts:
            if past.outcome is Outcome.PASS or past.outcome.blames_driver:
                groups[past.image, past.driver_sha256, past.seed].append(past.outcome)
        return [group for group in groups.values() if len(group) > 1]


def gather(pasts: Iterable[Past]) -> list[Record]:
    """One record for each scenario, guest and circumstances, by name; `pasts` oldest first.

    What fails with one NIC alone, or under Driver Verifier alone, does not flake, and no build broke it in between.
    """
    found: defaultdict[tuple[str, str, Circumstances], list[Past]] = defaultdict(list)
    for past in pasts:
        found[past.scenario, past.guest, past.circumstances].append(past)
    return [
        Record(scenario=name, guest=guest, circumstances=circumstances, pasts=tuple(of))
        for (name, guest, circumstances), of in sorted(found.items())
    ]


def recent(pasts: Sequence[Past], count: int) -> str:
    """The last outcomes as one letter each, the latest last: `..F.C?-`."""
    return "".join("k" if past.known else _LETTERS[past.outcome] for past in pasts[-count:])
