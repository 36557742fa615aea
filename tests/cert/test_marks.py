"""The mark `requirement` and the option that chooses by it, in a run on a bench without a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report import read_results

pytest_plugins = ["pytester"]

PLUGIN_TESTS = Path(__file__).parents[1] / "plugin"
CONFTEST = """
from fake_bench import open_fake

def pytest_wfp_open_bench(options):
    return open_fake(options)
"""
CLEAN = "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.CleanUninstall"
WINSOCK = "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.Winsock"


@pytest.fixture
def run(pytester):
    pytester.syspathinsert(PLUGIN_TESTS)
    pytester.makeconftest(CONFTEST)

    def run(first, *options):
        pytester.makepyfile(
            f"""
import pytest

@pytest.mark.requirement("{first}", "{WINSOCK}")
def test_one(scene):
    "One."

@pytest.mark.requirement("{WINSOCK}")
def test_other(scene):
    "Other."

def test_none(scene):
    "None."
"""
        )
        out = pytester.path / "results"
        ended = pytester.runpytest("--out", str(out), "--history", "off", *options)
        records = read_results(out / "results.jsonl") if out.exists() else []
        return ended, {r["title"]: r["requirements"] for r in records if r["record"] == "result"}

    return run


def test_results_say_which_requirements_a_scenario_speaks_to(run):
    _, results = run(CLEAN)
    assert results == {"One.": [CLEAN, WINSOCK], "Other.": [WINSOCK], "None.": []}


def test_scenarios_are_chosen_by_requirement(run):
    _, results = run(CLEAN, "--requirement", CLEAN)
    assert set(results) == {"One."}
    _, results = run(CLEAN, "--requirement", "ArchitecturalDesign.Winsock")
    assert set(results) >= {"One.", "Other."}
    assert "None." not in results


def test_a_mark_that_names_no_requirement_ends_the_run(run):
    ended, results = run(CLEAN + "l")
    assert ended.ret == 2
    assert not results
    ended.stdout.fnmatch_lines([f"*names the requirement '{CLEAN}l', which is none. Hint: Near are {CLEAN}*"])
