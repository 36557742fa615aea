"""What is left to do by hand, in the order in which it is best done."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from harness.cert.answers import Answers
from harness.cert.evidence import Where
from harness.cert.requirements import KitTest, Settled, all_kit_tests
from harness.cert.standing import Standing, State
from harness.cert.wfplogo import missing_kinds
from harness.printable import printable
from harness.report import Outcome

_WITHOUT_RESULT = (Outcome.LOST, Outcome.SKIP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something a person has to do, and the requirements it is for."""

    title: str
    words: tuple[str, ...]
    requirements: tuple[str, ...] = ()


def steps_by_hand(answers: Answers, standings: Sequence[Standing]) -> list[Step]:
    """What remains for the requirements that concern the driver; nothing of what is settled."""
    asked = [each for each in standings if each.state is not State.NOT_ASKED]
    left = [each for each in asked if not each.done]
    steps = [
        _findings("mend", asked, breaks=True),
        _findings("judge", asked, breaks=False),
        _run(left),
        _windows(left),
        _listed("skipped", [(each, _why_skipped(each)) for each in left if each.left_out]),
        _listed("hand", [(each, each.requirement.hand) for each in left if each.requirement.hand]),
        _attest(answers, asked),
        *_kit(answers, [each for each in left if Settled.HLK in each.requirement.settled]),
    ]
    return [step for step in steps if step is not None]


def _findings(name: str, asked: Sequence[Standing], *, breaks: bool) -> Step | None:
    told = [
        (each, f"{finding.text} {finding.instead}")
        for each in asked
        for finding in each.findings
        if finding.breaks is breaks
    ]
    if breaks:
        told += [
            (each, f"{seen.outcome} on {seen.guest}: {seen.scenario}")
            for each in asked
            for seen in each.seen
            if seen.outcome.blames_driver
        ]
    return _listed(name, told)


def _run(left: Sequence[Standing]) -> Step | None:
    waiting = [each for each in left if each.not_run or any(one.outcome is Outcome.LOST for one in each.seen)]
    scenarios = {one.scenario for each in waiting for one in each.not_run}
    scenarios |= {one.scenario for each in waiting for one in each.seen if one.outcome is Outcome.LOST}
    return _step("run", waiting, count=len(scenarios)) if waiting else None


def _windows(left: Sequence[Standing]) -> Step | None:
    def passed_there(each: Standing) -> set[str]:
        windows = [one for one in each.seen if one.where is Where.WINDOWS and one.outcome not in _WITHOUT_RESULT]
        return {one.scenario for one in windows}

    rehearsed = [each for each in left if {one.scenario for one in each.seen} - passed_there(each)]
    return _step("windows", rehearsed) if rehearsed else None


def _why_skipped(each: Standing) -> str:
    reasons = Counter(one.message or "no reason told" for one in each.left_out)
    told = "; ".join(f"{count} of {len(each.scenarios)} scenarios: {reason}" for reason, count in reasons.items())
    return printable(told)


def _attest(answers: Answers, asked: Sequence[Standing]) -> Step | None:
    given = answers.attestation.requirements
    lacking = [each for each in asked if each.requirement.attestation and each.requirement.id not in given]
    return _listed("attest", [(each, each.requirement.meaning) for each in lacking])


def _kit(answers: Answers, left: Sequence[Standing]) -> Iterator[Step]:
    if not left:
        return
    machine = _step("machine", ())
    missing = missing_kinds(answers)
    words = (_texts()["machine"]["missing"].format(kinds=", ".join(missing)),) if missing else ()
    yield Step(title=machine.title, words=machine.words + words)
    names = {each.requirement.id for each in left}
    for test in all_kit_tests():
        wanted = tuple(name for name in test.requirements if name in names)
        if wanted:
            yield Step(title=f"HLK: {test.name}", words=tuple(_of_test(test)), requirements=wanted)
    yield _step("submit", ())


def _of_test(test: KitTest) -> Iterator[str]:
    how = "runs by itself" if test.kind == "automatic" else "opens dialogues"
    yield f"Id {test.id}; it {how}" + (f" and takes about {test.minutes} minutes." if test.minutes else ".")
    if test.known == "likely":
        yield "That it is for this requirement is a guess: no page at hand says so."
    if test.note:
        yield test.note


def _listed(name: str, told: Sequence[tuple[Standing, str]]) -> Step | None:
    if not told:
        return None
    step = _step(name, [each for each, _ in told])
    words = tuple(f"{each.requirement.short}: {text}" for each, text in told)
    return Step(title=step.title, words=step.words + words, requirements=step.requirements)


def _step(name: str, standings: Sequence[Standing], **values: object) -> Step:
    entry = _texts()[name]
    return Step(
        title=entry["title"],
        words=tuple(text.format(**values) for text in entry.get("text", ())),
        requirements=tuple(dict.fromkeys(each.requirement.id for each in standings)),
    )


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads((files("harness.cert.data") / "steps.toml").read_text(encoding="utf-8"))
