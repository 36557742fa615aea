"""Command lines on their way to Wine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "vm-images" / "reference" / "winrm" / "wfp_winrm" / "runner.py"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wfp_winrm_runner", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sc.exe query  x", ["sc.exe", "query", "x"]),
        (r'"C:\Program Files\a.exe" b', [r"C:\Program Files\a.exe", "b"]),
        (r"a\\b c\d", [r"a\\b", r"c\d"]),
        (r"say \"hi\"", ["say", '"hi"']),
        (r'"ends in slash\\" next', ["ends in slash\\", "next"]),
        ('"a""b"', ['a"b']),
        ('x ""', ["x", ""]),
    ],
)
def test_words_are_split_as_windows_programs_do(runner, line, words):
    assert runner.split_arguments(line) == words


def test_paths_are_found_whatever_their_letter_case(runner, tmp_path):
    (tmp_path / "drive_c" / "Windows" / "System32").mkdir(parents=True)
    file = tmp_path / "drive_c" / "Windows" / "System32" / "Sc.exe"
    file.touch()
    wine = runner.WineRunner("wine", tmp_path)
    assert wine.unix_path(r"c:\windows\system32\sc.EXE") == file


@pytest.mark.parametrize("path", [r"D:\x", r"\\server\share"])
def test_paths_of_other_drives_are_not_found(runner, tmp_path, path):
    with pytest.raises(FileNotFoundError):
        runner.WineRunner("wine", tmp_path).unix_path(path)
