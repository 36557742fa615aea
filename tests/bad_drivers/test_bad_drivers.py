"""A driver that breaks one rule at a time, loaded over the model by Wine: it is reported by that rule alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.driver.contract import Breach, read_breaches
from harness.driver.symbols import Symbols
from tests.building import build

SOURCES = Path(__file__).parent
MODEL = SOURCES.parents[1] / "vm-images" / "reference" / "model"
NAMES = [name for path in sorted(SOURCES.glob("*.c")) for name in re.findall(r'\.name = "([^"]+)"', path.read_text())]
RULE = re.compile(r"W\d{3}|K-[A-Z]+")
# A callout with a context cannot be unregistered, so that it is left as well; one that goes and has not released a
# classify handle is told of like one that leaves a pend.
BESIDES = {
    "W012-context": {"W015"},
    "W128-not-released": {"W183"},
    "W166-never-completed": {"W128", "W183"},
}

pytestmark = [
    pytest.mark.wine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="mingw-w64 is not installed"),
]


@pytest.fixture(scope="module")
def rig() -> Path:
    """The folder of the driver, the model and the program that loads them."""
    build(MODEL, "bad")
    return MODEL / "build" / "bad"


def drive(wine: Any, rig: Path, console: Path, services: list[str]) -> tuple[Breach, ...]:
    """What is reported while the driver is loaded, given traffic and unloaded under each name."""
    console.write_text("")
    overrides = wine.environment["WINEDLLOVERRIDES"] + ";fwpkclnt.sys,ndis.sys=n"
    done = subprocess.run(
        [wine.program, rig / "bad_rig.exe", *services],
        cwd=rig,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**wine.environment, "WINEDLLOVERRIDES": overrides, "WFP_MODEL_CONSOLE": str(console)},
    )
    assert done.returncode == 0, done.stdout + console.read_text()
    breaches, unreadable = read_breaches(console)
    assert not unreadable, console.read_text()
    return breaches


def test_a_driver_that_keeps_its_contract_is_not_reported(wine: Any, rig: Path, tmp_path: Path) -> None:
    """The same work as the documents ask for, all kinds one after the other in one process: nothing is said."""
    assert drive(wine, rig, tmp_path / "console", [f"good-{name}" for name in NAMES]) == ()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.rule(rule[0])] if (rule := RULE.match(name)) and rule[0][0] == "W" else []
        )
        for name in NAMES
    ],
)
def test_a_driver_that_breaks_a_rule_is_reported_by_that_rule(wine: Any, rig: Path, tmp_path: Path, name: str) -> None:
    """The right rule, no other, and the place in the driver by function and line."""
    breaches = drive(wine, rig, tmp_path / "console", [f"bad-{name}"])

    rule = RULE.match(name)
    assert rule is not None
    assert rule[0] in {breach.rule for breach in breaches}
    assert {breach.rule for breach in breaches} <= {rule[0]} | BESIDES.get(name, set()), breaches
    symbols = Symbols(rig / "bad.sys")
    for breach in breaches:
        assert breach.stack, breach
        assert re.fullmatch(r"\w+ at \w+\.c:\d+", symbols.name(breach.stack[0].offset)), breach
