"""How many attempts decide whether a capture still fails, when it does not fail each time.

A capture that failed in every attempt at first is decided by one attempt. That can only err on one side: what fails
once does fail, and what is thrown away wrongly leaves a larger result, never a wrong one. One that failed in some
attempts is decided by Wald's sequential test between "it fails as often as the whole capture" and "it fails a quarter
as often or less", each error no more likely than 1 - confidence; where the attempts run out, the likelier of the two
wins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_FEWER = 4  # what fails that many times less often is not the same failure any more
_SURE = 0.98  # a rate of exactly 1 would make one miss a proof


@dataclass(frozen=True, slots=True)
class Voting:
    """`rate` is the share of attempts at the whole capture that failed, `most` how many attempts a try may take."""

    rate: float
    confidence: float = 0.95
    most: int = 15

    @property
    def by_one(self) -> bool:
        """Whether one attempt decides."""
        return self.rate >= 1 or self.most == 1

    def decide(self, hits: int, misses: int) -> bool | None:
        """Whether it still fails; None: another attempt is wanted."""
        if not hits + misses:
            return None
        if self.by_one:
            return hits > 0
        often = min(self.rate, _SURE)
        seldom = often / _FEWER
        evidence = hits * math.log(often / seldom) + misses * math.log((1 - often) / (1 - seldom))
        limit = -math.log(1 - self.confidence)  # Wald's own bounds are a little too near
        if evidence >= limit:
            return True
        if evidence <= -limit:
            return False
        return evidence > 0 if hits + misses >= self.most else None

    def __str__(self) -> str:
        if self.by_one:
            return "one attempt decides"
        return f"up to {self.most} attempts decide, with {self.confidence:.0%} confidence"
