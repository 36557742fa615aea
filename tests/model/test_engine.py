"""The filter engine's own checks, run by Wine without a VM: one test a check of engine_test.c."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pefile
import pytest

from harness.report.coverage import names_of_checks
from tests.building import build

NAME = re.compile(r"^ok ((?:W\d+ )+)(.*)")
ROOT = Path(__file__).parents[2]
MODEL = ROOT / "vm-images" / "reference" / "model"

pytestmark = [
    pytest.mark.wine,
    pytest.mark.timeout(900),  # the first one compiles the engine
    pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="mingw-w64 is not installed"),
]


def test_every_check_of_the_engine_holds(wine: Any) -> None:
    """Objects, transactions, arbitration, flows, injection and redirection behave as their rules say."""
    build(MODEL, "check")
    done = subprocess.run(
        [wine.program, MODEL / "build" / "engine_test.exe"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=wine.environment,
    )
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("FAILED")]
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, f"exit code {done.returncode}; output: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    assert sum(line.startswith("ok ") for line in lines) > 240, done.stdout
    named = {(mention.rule, mention.name) for mention in names_of_checks(ROOT)}
    ran = {(rule, words) for line in lines for rules, words in NAME.findall(line) for rule in rules.split()}
    assert not {pair for pair in named if pair not in ran}, "named in the sources, and did not run"


def test_every_function_that_a_driver_may_import_is_there_modelled_or_loud() -> None:
    """Each name of the facts is exported, and what no part implements is a stub that says its name."""
    build(MODEL, "all")
    facts = json.loads((ROOT / "harness" / "wfp" / "data" / "exports.json").read_text())["functions"]
    with pefile.PE(str(MODEL / "build" / "fwpkclnt.sys")) as module:
        exported = {symbol.name.decode() for symbol in module.DIRECTORY_ENTRY_EXPORT.symbols}
    missing = {function["name"] for function in facts} - exported
    assert not missing
    stubs = set(re.findall(r'model_unimplemented\("(\w+)"\)', (MODEL / "build" / "stubs.c").read_text()))
    said = json.loads((MODEL.parent / "imports.json").read_text())["modules"]["fwpkclnt.sys"]
    assert set(said["stubs"]) == stubs, "vm-images/reference/imports.py writes imports.json anew"
    assert set(said["provided"]) == exported - stubs
    assert "FwpsvSwitchEventsSubscribe0" in stubs, "stubs.c is not what it was"
    assert not {name for name in stubs if name.startswith("FwpsInject")}
    assert "FwpmFilterAdd0" not in stubs


@pytest.mark.rule("W019", "W118", "W172", "W305")
def test_what_may_be_called_at_passive_level_only_has_a_guard() -> None:
    """The IRQL of the facts decides; functions without one there are management functions, all at PASSIVE_LEVEL."""
    facts = json.loads((ROOT / "harness" / "wfp" / "data" / "exports.json").read_text())["functions"]
    levels = {function["name"]: function["irql"] for function in facts}
    guarded = set(json.loads((MODEL / "data" / "exports.json").read_text())["passive"])
    assert {name for name, level in levels.items() if level and "PASSIVE" in level} <= guarded
    assert not {name for name in guarded if levels[name] and "DISPATCH" in levels[name]}
    assert {"FwpmFilterAdd0", "FwpmTransactionBegin0", "FwpsInjectionHandleDestroy0"} <= guarded
    assert {"FwpsRedirectHandleCreate0", "FwpsRedirectHandleDestroy0"} <= guarded
    asynchronous = {"AcquireClassifyHandle", "PendClassify", "CompleteClassify", "ReleaseClassifyHandle"}
    asynchronous |= {"AcquireWritableLayerDataPointer", "ApplyModifiedLayerData"}
    assert not {f"Fwps{name}0" for name in asynchronous} & guarded
    assert {f"FwpsCalloutRegister{version}" for version in range(4)} | {"FwpsCalloutUnregisterById0"} <= guarded
