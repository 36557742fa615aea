"""Which rules of the catalogue are checked, and by what.

A test or scenario names its rules with the mark `rule`, which pytest's own collection finds, wherever the mark comes
from (a decorator, a parameter, a table). A check of the model's engine names them in front of its name, a string in
C: "W106 W107 unknown: permit decides the sublayer".
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.errors import HostError, UsageError
from harness.ownership import temporary_folder
from harness.process import run
from harness.waiting import Deadline
from harness.wfp import Area, Kind, Rule, all_areas, all_rules, find_area, near_rules

_TESTS = ("scenarios", "tests")
_CHECKS = "tests/model"
_CHECK = re.compile(r'"((?:W\d+ )+)((?:[^"\\\n]|\\.)*)"')
_COLLECT_SECONDS = 120.0


class By(StrEnum):
    """What checks a rule."""

    SCENARIO = "scenario"
    ENGINE = "engine check"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Mention:
    """One check that names a rule."""

    rule: str
    by: By
    name: str  # node id of a test without its parameters, or the words of an engine check
    place: str  # "tests/model/rules_test.c:48"; of a test, its file


@dataclass(frozen=True, slots=True)
class Count:
    """How far an area is covered; documented rules alone count."""

    area: Area
    covered: int
    total: int
    not_observable: int  # of the total

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.covered / self.total if self.total else 1.0


class Coverage:
    """The mentions of every rule."""

    def __init__(self, mentions: Iterable[Mention]) -> None:
        self._by_rule: dict[str, list[Mention]] = {name: [] for name in all_rules()}
        for mention in mentions:
            if mention.rule not in self._by_rule:
                where = f"{mention.place} names the rule '{mention.rule}' in '{mention.name}'"
                raise UsageError(f"{where}, which is not in the catalogue.", hint=near_rules(mention.rule))
            if mention not in self._by_rule[mention.rule]:
                self._by_rule[mention.rule].append(mention)

    def of(self, rule: Rule) -> tuple[Mention, ...]:
        """What checks a rule."""
        return tuple(self._by_rule[rule.id])

    def counts(self) -> list[Count]:
        """Every area, in order."""
        return [self._count(area) for area in all_areas().values()]

    def total(self) -> Count:
        """All areas as one."""
        counts = self.counts()
        return Count(
            Area(0, "all areas"),
            sum(count.covered for count in counts),
            sum(count.total for count in counts),
            sum(count.not_observable for count in counts),
        )

    def _count(self, area: Area) -> Count:
        rules = [rule for rule in all_rules().values() if rule.area == area and rule.kind is Kind.DOCUMENTED]
        covered = sum(bool(self._by_rule[rule.id]) for rule in rules)
        return Count(area, covered, len(rules), sum(not rule.observable for rule in rules))


def choose(coverage: Coverage, *, area: str | None, kind: str | None, uncovered: bool) -> list[Rule]:
    """The rules of an area (a number or a name) and of a kind ("D").

    With `uncovered` those alone that nothing checks though something could.
    Raises UsageError for an area or a kind that there is not.
    """
    wanted = find_area(area) if area is not None else None
    kinds = {known.value: known for known in Kind}
    if kind is not None and kind.upper() not in kinds:
        raise UsageError(f"There is no kind of rule {kind!r}.", hint=f"kinds are {', '.join(kinds)}")
    return [
        rule
        for rule in all_rules().values()
        if (wanted is None or rule.area == wanted)
        and (kind is None or rule.kind is kinds[kind.upper()])
        and (not uncovered or (rule.observable and not coverage.of(rule)))
    ]


def as_record(rule: Rule, coverage: Coverage) -> Mapping[str, object]:
    """A rule and what checks it, as JSON has it."""
    return {
        "id": rule.id,
        "area": rule.area.name,
        "kind": rule.kind.value,
        "text": rule.text,
        "layers": list(rule.layer_names),
        "check": rule.check.value,
        "reason": rule.reason,
        "sources": list(rule.sources),
        "covered_by": [{"by": found.by.value, "name": found.name, "place": found.place} for found in coverage.of(rule)],
    }


def gather_coverage(project: Path) -> Coverage:
    """What checks the rules in a checkout.

    Raises UsageError when something names a rule that the catalogue does not have, HostError when pytest cannot
    collect the tests.
    """
    return Coverage([*marks_of_tests(project), *names_of_checks(project)])


def names_of_checks(project: Path) -> Iterator[Mention]:
    """The rules that the engine's checks name, from their sources."""
    for path in sorted((project / _CHECKS).glob("*.[ch]")):
        place = path.relative_to(project)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for ids, words in _CHECK.findall(line):
                for name in ids.split():
                    yield Mention(name, By.ENGINE, words, f"{place}:{number}")


def marks_of_tests(project: Path) -> Iterator[Mention]:
    """The rules that tests and scenarios name, as pytest collects them."""
    for entry in collect_marks(project, [project / folder for folder in _TESTS], "rule"):
        name = entry["test"].partition("[")[0]
        by = By.SCENARIO if entry["scenario"] else By.TEST
        for rule in entry["rules"]:
            yield Mention(rule, by, name, name.partition("::")[0])


def collect_marks(project: Path, folders: Iterable[Path], mark: str) -> list[dict[str, Any]]:
    """What harness.plugin.rule_marks tells of the tests below these folders (or files) where a mark is used.

    Raises HostError when pytest cannot collect them.
    """
    files = [
        path
        for folder in folders
        for path in ([folder] if folder.is_file() else sorted(folder.rglob("test_*.py")))
        if f"mark.{mark}" in path.read_text(encoding="utf-8")
    ]
    if not files:
        return []
    with temporary_folder("rules") as folder:
        marks = folder / "marks.json"
        plugins = ["-p", "harness.plugin.rule_marks", "-p", "no:cacheprovider"]
        done = run(
            [sys.executable, "-m", "pytest", *plugins, "--collect-only", "-q", "--rule-marks", marks, *files],
            cwd=project,
            deadline=Deadline(_COLLECT_SECONDS),
            check=False,
        )
        if not marks.exists() or re.search(r"\berrors? during collection", done.stdout):
            raise HostError(f"pytest cannot collect the tests: {(done.stderr + done.stdout).strip()[-2000:]}")
        collected: list[dict[str, Any]] = json.loads(marks.read_text())
    return collected
