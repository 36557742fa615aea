"""The first bad build is found, or the range in which it is, whatever cannot be tried."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.minimise.bisect import Finding, Judged, Mark, bisect
from harness.minimise.builds import Build, find_builds


def series(count: int) -> list[Build]:
    return [Build(path=Path(f"{number}.sys"), label=str(number), sha256=str(number)) for number in range(count)]


def search(count: int, first_bad: int, skipped: frozenset[int] = frozenset()) -> tuple[Finding, list[Judged]]:
    told: list[Judged] = []

    def judge(build: Build) -> tuple[Mark, str]:
        number = int(build.label)
        if number in skipped:
            return Mark.SKIPPED, "it does not load"
        return (Mark.BAD, "CRASH") if number >= first_bad else (Mark.GOOD, "PASS")

    return bisect(series(count), judge, lambda judged, left: told.append(judged)), told


def test_sixteen_builds_take_six_tries() -> None:
    finding, told = search(16, 10)
    assert finding.first_bad == series(16)[10]
    assert len(told) <= 6
    assert str(finding) == "The first bad build is 10; the last good one is 9."


def test_a_build_in_the_middle_that_does_not_load_is_skipped() -> None:
    finding, told = search(16, 10, frozenset({7}))
    assert finding.first_bad == series(16)[10]
    assert [build.label for build in finding.skipped] == ["7"]
    assert len(told) <= 7


def test_what_cannot_be_decided_is_said() -> None:
    finding, _ = search(16, 10, frozenset({8, 9, 10}))
    assert finding.first_bad is None
    assert [build.label for build in finding.suspects] == ["8", "9", "10", "11"]
    assert "one of 4, as those between could not be tried: 8, 9, 10, 11; the last good one is 7." in str(finding)


@given(st.data())
def test_the_first_bad_build_is_always_among_the_suspects(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 40))
    first_bad = data.draw(st.integers(1, count - 1))
    skipped = data.draw(st.frozensets(st.integers(0, count - 1)))
    tried = [number for number in range(count) if number not in skipped]
    if not any(number < first_bad for number in tried) or not any(number >= first_bad for number in tried):
        with pytest.raises(UsageError):
            search(count, first_bad, skipped)
        return
    finding, told = search(count, first_bad, skipped)
    suspects = [int(build.label) for build in finding.suspects]
    assert first_bad in suspects
    assert int(finding.last_good.label) == suspects[0] - 1
    assert set(suspects[:-1]) <= skipped
    assert len({judged.build.label for judged in told}) == len(told)


def test_ends_that_are_not_as_they_should_be_are_refused() -> None:
    with pytest.raises(UsageError, match=r"newest build that can be tried, 3, is good \(PASS\)"):
        search(4, 9)
    with pytest.raises(UsageError, match=r"oldest build that can be tried, 0, is bad already \(CRASH\)"):
        search(4, 0)
    with pytest.raises(UsageError, match="None of the 4 builds could be tried: it does not load"):
        search(4, 2, frozenset(range(4)))
    with pytest.raises(UsageError, match="Of the builds 3 alone could be tried"):
        search(4, 2, frozenset(range(3)))


def test_the_same_file_is_tried_once() -> None:
    builds = [Build(path=Path("x"), label=str(number), sha256="same" if number < 9 else "new") for number in range(16)]
    asked: list[str] = []

    def judge(build: Build) -> tuple[Mark, str]:
        asked.append(build.label)
        return (Mark.BAD, "CRASH") if build.sha256 == "new" else (Mark.GOOD, "PASS")

    finding = bisect(builds, judge)
    assert finding.first_bad == builds[9]
    assert len(asked) == 2
    assert any(judged.why.startswith("the same file as") for judged in finding.judged)


def test_a_list_is_taken_in_its_order(tmp_path: Path) -> None:
    for name in ("b.sys", "a.sys"):
        (tmp_path / name).write_bytes(name.encode())
    listed = tmp_path / "builds.txt"
    listed.write_text("# oldest first\nb.sys\n\na.sys   # the release\n")
    found = find_builds(listed)
    assert [build.label for build in found.builds] == ["b.sys", "a.sys"]
    assert found.ordered_by == "the list"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"gone.sys\n", "names 'gone.sys' in line 1, and there is no such file"),
        (b"MZ\x90\0", "it is not a text"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"# nothing\n", "has 0 build(s) of a driver"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    listed = tmp_path / "builds.txt"
    listed.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        find_builds(listed)
    assert said in refused.value.message


def test_a_folder_without_versions_goes_by_time_then_name(tmp_path: Path) -> None:
    for name, time in (("build10.sys", 5), ("build9.sys", 5), ("build2.sys", 9)):
        (tmp_path / name).write_bytes(b"MZ")
        os.utime(tmp_path / name, (time, time))
    found = find_builds(tmp_path)
    assert [build.label for build in found.builds] == ["build9.sys", "build10.sys", "build2.sys"]
    assert found.ordered_by == "the time of their last change, then by name"
    with pytest.raises(UsageError, match="cannot be read"):
        find_builds(tmp_path / "nothing")
