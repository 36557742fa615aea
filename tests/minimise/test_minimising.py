"""A whole search as the command makes it, with guests that are a function: what lies in its folder, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.capture import Capture, read
from harness.errors import UsageError
from harness.minimise.builds import Build, Series
from harness.minimise.criterion import parse_criterion
from harness.minimise.kept import CAPTURE, SCENARIO, read_record
from harness.minimise.verdict import Verdict
from harness.plugin import bisecting, minimising
from harness.plugin.minimising import Wish, minimise_on_guests
from harness.plugin.options import RunOptions
from harness.plugin.trying import Trials
from harness.reproduce import Settings
from tests.minimise.field import GUEST, field_capture
from tests.minimise.ledger import CRASH, PASS, judge

WISH = Wish(criterion=parse_criterion("crash"), settings=Settings())


class Told:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def begun(self, trials: Trials) -> None:
        self.words.append("begun")

    def reproduced(self, words: str) -> None:
        self.words.append(words)

    def stage(self, name: str, best: Capture) -> None:
        self.words.append(name)

    def tried(self, told: Any, tries: Any) -> None: ...

    def better(self, best: Capture) -> None:
        self.words.append(f"{len(best)} packets")


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    driver = tmp_path / "ledger.sys"
    driver.write_bytes(b"MZ")
    return RunOptions(guest="reference", driver=driver, nic=None, fresh="test", reuse_boot=True, out=tmp_path / "out")


def with_guests(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    facts = {"guest": "reference", "guest_title": "A guest", "driver": "ledger.sys", "driver_sha256": "ab" * 32}

    @contextmanager
    def trials(*_: object, **__: object) -> Iterator[Trials]:
        yield Trials([run], facts)

    monkeypatch.setattr(minimising, "open_trials", trials)


def test_the_folder_has_capture_scenario_record_and_journal(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_guests(monkeypatch, judge)
    capture, view = field_capture(connections=30, culprit=13), Told()
    result = minimise_on_guests(capture, Path("/somewhere/field.pcapng"), options, WISH, view)
    assert (len(result.capture), result.confirmed, result.verdict) == (3, "3 of 3 attempts", CRASH)
    assert [packet.data for packet in read(options.out / CAPTURE).packets] == [p.data for p in result.capture.packets]
    assert f'guest="{GUEST}"' in (options.out / SCENARIO).read_text()
    kept, driver = read_record(options.out)
    assert (kept.packets, kept.source, kept.guest_addresses) == (3, "field.pcapng", (GUEST,))
    assert "symbol == 'release_ledger'" in kept.until
    assert driver == options.driver
    assert json.loads((options.out / "tries.jsonl").read_text().splitlines()[0])["driver_sha256"] == "ab" * 32
    assert view.words[0] == "begun"
    assert "one attempt decides" in view.words[1]


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
def test_the_best_so_far_is_there_whatever_ends_the_search(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch, ends: type[BaseException]
) -> None:
    """Already when it is found: before each later attempt the folder holds a capture that fails."""
    capture = field_capture(connections=30, culprit=13)
    smallest = [len(capture)]
    calls = [0]

    def run(part: Capture) -> Verdict:
        calls[0] += 1
        if smallest[0] < len(capture):
            assert len(read(options.out / CAPTURE).packets) == smallest[0]
        if calls[0] == 15:
            raise ends
        verdict = judge(part)
        if verdict is CRASH:
            smallest[0] = min(smallest[0], len(part))
        return verdict

    with_guests(monkeypatch, run)
    with pytest.raises(ends):
        minimise_on_guests(capture, Path("field.pcapng"), options, WISH, Told())
    best = read(options.out / CAPTURE)
    assert len(best.packets) == smallest[0] < len(capture)
    assert judge(Capture(best.packets)) is CRASH
    with_guests(monkeypatch, judge)
    assert len(minimise_on_guests(capture, Path("field.pcapng"), options, WISH, Told()).capture) == 3


def test_verdicts_of_other_circumstances_are_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bisection that is asked for again in its folder, with other patience, is another bisection."""
    builds = []
    for number in range(3):
        path = tmp_path / f"{number}.sys"
        path.write_bytes(b"MZ%d" % number)
        builds.append(Build(path=path, label=str(number), sha256=str(number) * 64))
    asked: list[Capture] = []

    @contextmanager
    def trials(options: RunOptions, _: Settings) -> Iterator[Trials]:
        def runner(capture: Capture) -> Verdict:
            asked.append(capture)
            return PASS if options.driver == builds[0].path else CRASH

        yield Trials([runner], {"guest": "reference", "driver_sha256": str(options.driver)})

    monkeypatch.setattr(bisecting, "open_trials", trials)
    monkeypatch.setattr(bisecting, "load_package_for", lambda *_: None)
    options = RunOptions(guest="reference", driver=None, nic=None, fresh="test", reuse_boot=True, out=tmp_path / "out")
    capture, series = field_capture(connections=6, culprit=2), Series(tuple(builds), "names")

    def first_bad(patience: float) -> Build | None:
        wish = Wish(criterion=parse_criterion("crash"), settings=Settings(patience=patience))
        return bisecting.bisect_on_guests(capture, series, options, wish).first_bad

    assert first_bad(5.0) == builds[1]
    attempts = len(asked)
    assert first_bad(5.0) == builds[1]
    assert len(asked) == attempts, "what is known was attempted again"
    with pytest.raises(UsageError, match=r"is of another search: its 'patience' is 5\.0, that of this one 1\.0"):
        first_bad(1.0)
