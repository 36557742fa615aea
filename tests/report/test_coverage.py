"""What the catalogue's coverage is counted from, and what `wfp-hil rules` says of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from harness.errors import HostError, UsageError
from harness.report.coverage import By, Coverage, Mention, as_record, choose, gather_coverage, names_of_checks
from harness.report.rule_table import show_rule, show_rules, show_shares
from harness.wfp import all_rules, rule

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def real() -> Coverage:
    return gather_coverage(ROOT)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    for folder in ("scenarios/callout", "tests/model", "tests/unit"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n")
    return tmp_path


def add(project: Path, name: str, text: str) -> None:
    (project / name).write_text(text)


def named(coverage: Coverage, number: str) -> set[tuple[By, str]]:
    return {(found.by, found.name) for found in coverage.of(rule(number))}


def test_everything_in_this_checkout_names_rules_that_exist(real: Coverage) -> None:
    """Scenarios, tests and the engine's checks: a wrong id in any of them ends here."""
    total = real.total()
    assert total.total == 277
    assert total.covered > 100
    assert any(found.by is By.SCENARIO for found in real.of(rule("W105")))
    assert any(found.by is By.ENGINE for found in real.of(rule("W106")))


def test_marks_count_wherever_they_come_from(project: Path) -> None:
    body = """
import pytest
pytestmark = pytest.mark.rule("W001")

@pytest.mark.rule("W002", "W003")
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.rule("W004"))])
def test_one(n):
    assert n

def test_with_a_guest(driver):
    '''A scenario.'''

# @pytest.mark.rule("W005")
"""
    add(project, "tests/unit/test_marks.py", body)
    coverage = gather_coverage(project)
    one, guest = "tests/unit/test_marks.py::test_one", "tests/unit/test_marks.py::test_with_a_guest"
    assert named(coverage, "W001") == {(By.TEST, one), (By.SCENARIO, guest)}
    assert named(coverage, "W003") == named(coverage, "W004") == {(By.TEST, one)}
    assert not named(coverage, "W005"), "what pytest does not collect checks nothing"


def test_engine_checks_name_rules_in_front(project: Path) -> None:
    add(
        project,
        "tests/model/a_test.c",
        '    EXPECT("W106 W107 unknown: permit \\"decides\\"", one, TRUE);\n'
        '    EXPECT("like W108, in the middle", two, 1);\n'
        '    {"W109 of a table", 3},\n',
    )
    found = list(names_of_checks(project))
    assert [(mention.rule, mention.place) for mention in found] == [
        ("W106", "tests/model/a_test.c:1"),
        ("W107", "tests/model/a_test.c:1"),
        ("W109", "tests/model/a_test.c:3"),
    ]


def test_an_engine_check_of_no_rule_is_an_error(project: Path) -> None:
    add(project, "tests/model/a_test.c", '\n    EXPECT("W310 a typing error", one, TRUE);\n')
    with pytest.raises(UsageError, match=r"a_test\.c:2 names the rule 'W310' in 'a typing error'") as error:
        gather_coverage(project)
    assert "W30" in str(error.value.hint)


@pytest.mark.parametrize("fixture", ["", "driver"], ids=["test", "scenario"])
def test_a_mark_of_no_rule_is_an_error(project: Path, fixture: str) -> None:
    body = f"import pytest\n@pytest.mark.rule('W12')\ndef test_one({fixture}):\n    '''A scenario.'''\n"
    add(project, "tests/unit/test_marks.py", body)
    with pytest.raises(UsageError, match=r"test_marks\.py names the rule 'W12'") as error:
        gather_coverage(project)
    assert "W012" in str(error.value.hint)


def test_what_cannot_be_collected_is_said(project: Path) -> None:
    add(project, "tests/unit/test_marks.py", "import no_such_module\n# pytest.mark.rule\n")
    with pytest.raises(HostError, match="no_such_module"):
        gather_coverage(project)


def made(*rules: str) -> Coverage:
    return Coverage(Mention(name, By.ENGINE, "a check", "a.c:1") for name in rules)


def test_documented_rules_alone_are_counted() -> None:
    counts = {count.area.number: count for count in made("W020", "W027", "W026").counts()}
    assert (counts[2].covered, counts[2].total) == (2, 7), "W027 is one of conflict"
    assert counts[3].covered == 0
    assert counts[8].not_observable == 1


def test_uncovered_leaves_out_what_nothing_can_check() -> None:
    left = {entry.id for entry in choose(made("W164"), area="8", kind="D", uncovered=True)}
    assert "W164" not in left
    assert "W171" not in left
    assert {"W165", "W172"} <= left
    assert "W173" not in left
    with pytest.raises(UsageError, match="'X'"):
        choose(made(), area=None, kind="X", uncovered=False)


def shown(show: object, *words: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    show(console, *words)  # type: ignore[operator]
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_rule_is_shown_with_what_checks_it() -> None:
    coverage = made("W106", "W106", "W185")
    text = shown(show_rules, [rule("W106"), rule("W107"), rule("W185")], coverage)
    lines = text.splitlines()
    assert any(line.startswith("W106") and "1 engine" in line for line in lines)
    assert any(line.startswith("W107") and "nothing" in line for line in lines)
    assert [line.strip() for line in lines if "6 arbitration" in line or "10 flow" in line] == [
        "6 arbitration",
        "10 flow context",
    ]
    one = shown(show_rule, rule("W106"), coverage)
    assert "engine check: a.c:1 a check" in one
    assert "sdk-api/ns-fwpstypes-fwps_action0.md" in one
    assert "IPsec" in shown(show_rule, rule("W274"), coverage)


def test_shares_end_with_all_areas() -> None:
    coverage = made("W106")
    lines = shown(show_shares, coverage.counts(), coverage.total()).splitlines()
    assert any("6 arbitration" in line and "1/22" in line for line in lines)
    assert "1/277" in lines[-1]
    assert "3 not observable" in lines[-1]


def test_json_has_all_of_a_rule() -> None:
    record = as_record(rule("W120"), made("W120"))
    assert json.loads(json.dumps(record))["layers"] == ["ALE_CONNECT_REDIRECT_V4", "ALE_CONNECT_REDIRECT_V6"]
    assert record["covered_by"] == [{"by": "engine check", "name": "a check", "place": "a.c:1"}]
    assert len(all_rules()) == 305
