"""`wfp-hil cert` and its words, from the command line."""

from __future__ import annotations

import sys

import pytest

from harness.cli import main
from harness.cli import run as running
from harness.config import project_root

pytestmark = pytest.mark.timeout(600)  # each call of the table collects scenarios in a process of its own

CLEAN = "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.CleanUninstall"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["wfp-hil", "cert", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_without_answers_the_table_says_what_to_do(call):
    code, _, said = call()
    assert code == 2
    assert said.startswith("error: There is no 'driver.toml'.\nhint: 'wfp-hil cert init'")


def test_from_the_driver_to_the_files_of_the_kit(call, ours, tmp_path):
    code, said, _ = call("init", ours, "--yes")
    assert (code, said) == (0, "answers: driver.toml\n")
    code, _, said = call("init", ours, "--yes")
    assert (code, said.splitlines()[0]) == (2, "error: There is a 'driver.toml' already.")
    code, said, _ = call("check")
    assert code == 0
    assert "ExAllocatePoolWithTag" in said
    code, said, _ = call("wfplogo", "--to", "kit")
    assert code == 0
    assert "no command under [commands] for stream, power, injection" in said
    assert (tmp_path / "kit" / "WFPLogo.Info").is_file()


def test_the_table_the_steps_and_the_report(call, answers_file, a_run, tmp_path):
    answers_file()
    run = a_run({"requirements": [CLEAN], "scenario": "s.py::t"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "test_mine.py").write_text(
        f"import pytest\n\n@pytest.mark.requirement('{CLEAN}')\ndef test_mine(probe):\n    'It is mine.'\n"
    )
    words = ("--results", run, "--scenarios", tmp_path / "mine")
    code, said, _ = call(*words)
    assert code == 0
    assert "reference guest: 1 PASS; 1 not run" in said
    code, said, _ = call(*words, "--to-do")
    assert "Run the scenarios" in said
    code, said, _ = call(*words, "--id", "ArchitecturalDesign.CleanUninstall")
    assert "test_mine" in said
    code, said, _ = call("report", *words)
    assert (code, said) == (0, "report: certification.html\n")
    assert "It is mine." in (tmp_path / "certification.html").read_text()


def test_running_asks_for_what_concerns_the_driver(call, answers_file, ours, monkeypatch):
    path = answers_file()
    asked = {}

    def run(context, **options):
        asked.update(options, words=context.args)

    monkeypatch.setattr(running, "run", run)
    call("run", "--guest", "windows-11", "--verifier", "standard", "-k", "load")
    words = asked["words"]
    wanted = {words[at + 1] for at, word in enumerate(words) if word == "--requirement"}
    assert CLEAN in wanted
    assert not any("StreamInjection" in name for name in wanted), "it does not inject into streams"
    assert words[:2] == ["-k", "load"]
    assert words[2] == str(asked["scenarios"]) == str(project_root() / "scenarios"), "in whatever folder it is called"
    assert words[words.index("--answers") + 1] == str(path)
    assert (asked["driver"], asked["guest"], asked["verifier"]) == (ours, "windows-11", "standard")
    (path.parent / "test_mine.py").write_text("")
    call("run", "test_mine.py::test_it")
    assert asked["words"][:2] == ["test_mine.py::test_it", "--answers"], "what is named is all that runs"
