"""The whole way with a driver that breaks requirements: asked, run in a guest, failing, and told so."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.process import Completed, run
from harness.waiting import Deadline
from tests.running import ROOT, WFP_HIL, results_of

MODEL = ROOT / "vm-images" / "reference" / "model"
SCENARIOS = ROOT / "scenarios" / "certification"
CHOSEN = "left_when_it_goes or names_company or names_its_provider"


@pytest.mark.vm
@pytest.mark.timeout(900)
def test_a_driver_that_breaks_requirements_fails_them(tmp_path: Path) -> None:
    """It leaves a filter behind, and has no provider."""
    if shutil.which("x86_64-w64-mingw32-gcc") is None:
        pytest.skip("no mingw-w64 here")
    subprocess.run(["make", "-s", "-C", MODEL, "bad"], check=True, capture_output=True)
    driver = tmp_path / "bad-W072-filter.sys"  # its misdeed is chosen by its service's name, and that by the file's
    shutil.copy(MODEL / "build" / "bad" / "bad.sys", driver)
    answers, out = tmp_path / "driver.toml", tmp_path / "out"

    def wfp_hil(*words: object) -> Completed:
        environment = {**os.environ, "COLUMNS": "200"}
        return run([WFP_HIL, *map(str, words)], cwd=ROOT, env=environment, deadline=Deadline(800), check=False)

    wfp_hil("cert", "init", driver, "--yes", "--to", answers)
    asked = ("--answers", answers, "--scenarios", SCENARIOS)
    wfp_hil("cert", "run", *asked, "--machines", "1", "--history", "off", "--out", out, "-k", CHOSEN)
    shown = wfp_hil("cert", *asked, "--results", out, "--to-do").stdout

    outcomes = {r["scenario"].partition("::")[2]: (r["outcome"], r["message"]) for r in results_of(out)}
    assert outcomes["test_nothing_of_the_driver_is_left_when_it_goes"][0] == "FAIL"
    assert "filters left: 'left'" in outcomes["test_nothing_of_the_driver_is_left_when_it_goes"][1]
    assert outcomes["test_a_provider_names_company_and_product"][0] == "FAIL"
    assert outcomes["test_every_object_names_its_provider"][0] == "FAIL"
    told, _, _ = shown.partition("2. ")
    assert told.startswith("1. Mend what fails")
    for name in ("CleanUninstall", "FwpmProviders.MaintainIdentifying", "FwpmProviders.AssociateWithObjects"):
        assert f"ArchitecturalDesign.{name}: FAIL on reference: scenarios/certification/test_objects.py" in told
