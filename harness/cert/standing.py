"""Where a driver stands: each requirement with what is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.cert.answers import Answers
from harness.cert.evidence import Evidence, Planned, Seen, Where
from harness.cert.readiness import Finding
from harness.cert.requirements import Requirement, Settled, all_requirements
from harness.report import Outcome


class State(StrEnum):
    """What is known of a requirement. None of them says that Microsoft's kit has passed it, but `SETTLED`, by word."""

    NOT_ASKED = "not asked"  # it does not concern this driver
    FAILING = "failing"  # something speaks against the driver
    OPEN = "open"  # nothing is known yet
    LOOK = "to be looked at"  # the package has something that a person has to judge
    CLEAN = "nothing found"  # only the package is looked at here, and it has nothing that speaks against it
    REHEARSED = "rehearsed"  # nothing that was tried failed, and not all of it has passed on Windows
    SEEN = "seen on Windows"  # all scenarios for it passed on a Windows guest here
    SETTLED = "settled by hand"  # driver.toml says who settled it


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One requirement of one driver."""

    requirement: Requirement
    state: State
    seen: tuple[Seen, ...]
    not_run: tuple[Planned, ...]
    findings: tuple[Finding, ...]
    done: str

    @property
    def scenarios(self) -> frozenset[str]:
        """The scenarios that speak to it, whether they have run or not."""
        return frozenset({one.scenario for one in self.seen} | {one.scenario for one in self.not_run})

    @property
    def left_out(self) -> tuple[Seen, ...]:
        """Scenarios that were skipped wherever they ran: they show nothing. One of each."""
        told = {one.scenario for one in self.seen if one.outcome is not Outcome.SKIP}
        silent = {one.scenario: one for one in self.seen if one.scenario not in told}
        return tuple(silent.values())

    @property
    def summary(self) -> str:
        """The state by the last results, in words: on which guest how many scenarios came to what."""
        words: list[str] = []
        for where in Where:
            here = [each for each in self.seen if each.where is where]
            if here:
                counts = Counter(str(each.outcome) for each in here)
                words.append(f"{where}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
        if self.not_run:
            words.append(f"{len(self.not_run)} not run")
        if self.findings:
            words.append(f"package: {len(self.findings)} finding" + "s" * (len(self.findings) > 1))
        return "; ".join(words) or "-"


def stand(answers: Answers, evidence: Evidence, findings: Sequence[Finding]) -> list[Standing]:
    """Every requirement, in the order of the catalogue."""
    return [_one(each, answers, evidence, findings) for each in all_requirements().values()]


def _one(each: Requirement, answers: Answers, evidence: Evidence, findings: Sequence[Finding]) -> Standing:
    seen = evidence.of(each.id)
    own = tuple(finding for finding in findings if finding.requirement == each.id)
    not_run = evidence.not_run_for(each.id)
    done = answers.done.get(each.id, "")
    return Standing(
        requirement=each,
        state=_state(each, answers, seen, not_run, own, done),
        seen=seen,
        not_run=not_run,
        findings=own,
        done=done,
    )


def _state(
    each: Requirement,
    answers: Answers,
    seen: Sequence[Seen],
    not_run: Sequence[Planned],
    findings: Sequence[Finding],
    done: str,
) -> State:
    if not each.concerns(answers.flags):
        return State.NOT_ASKED
    if any(one.outcome.blames_driver for one in seen) or any(finding.breaks for finding in findings):
        return State.FAILING
    if done:
        return State.SETTLED
    if findings:
        return State.LOOK
    passed = [one for one in seen if one.outcome is Outcome.PASS]
    if not passed:
        return State.CLEAN if _only_static(each) else State.OPEN
    windows = {one.scenario for one in passed if one.where is Where.WINDOWS}
    complete = windows == {one.scenario for one in seen} and not not_run
    return State.SEEN if complete else State.REHEARSED


def _only_static(each: Requirement) -> bool:
    """Nothing but the package is looked at here."""
    return Settled.STATIC in each.settled and Settled.SCENARIOS not in each.settled
