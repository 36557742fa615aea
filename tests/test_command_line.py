"""What is wrong with a call is said in one sentence with a hint, before anything is built or booted."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from harness import images
from harness.cli import main
from harness.cli.run import run_pytest
from harness.config import load_profile
from harness.errors import HostError, UsageError
from harness.hypervisor import leftovers
from harness.ownership import OWNER_VARIABLE, Owner, owner_of_folder
from harness.process import run

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _nothing_is_touched(monkeypatch, tmp_path):
    monkeypatch.setenv("WFP_HIL_LIBVIRT_URI", "test:///default")
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "ensure", lambda *_: pytest.fail("an image was asked for"))
    monkeypatch.chdir(ROOT)


@pytest.fixture
def call(monkeypatch, capsys):
    """Exit code and standard error of a call."""
    kept = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wfp-hil", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code), capsys.readouterr().err

    yield call
    for number, handler in kept:
        signal.signal(number, handler)


def sentences(said: str) -> None:
    error, hint = said.splitlines()
    assert error.startswith("error: ")
    assert error.endswith(".")
    assert hint.startswith("hint: ")


def test_a_profile_that_does_not_exist(call):
    code, said = call("run", "--guest", "referense")
    assert code == 2
    assert said == "error: There is no profile 'referense'.\nhint: Did you mean 'reference'?\n"


def test_a_profile_that_is_not_toml(call, tmp_path):
    (tmp_path / "guest.toml").write_text("name =\n")
    code, said = call("run", "--guest", tmp_path / "guest.toml")
    assert code == 2
    assert "line 1, column 7, key 'name': this is not valid TOML" in said
    sentences(said)


def test_a_driver_that_is_not_there_or_no_driver(call, tmp_path):
    for path, part in ((tmp_path / "gone.sys", "could not be read: No such file"), (ROOT / "LICENSE", "not a PE file")):
        code, said = call("run", "--driver", path)
        assert code == 2
        assert part in said
        sentences(said)


def test_a_driver_that_wants_what_the_guest_lacks(call, tmp_path):
    (tmp_path / "k.def").write_text("LIBRARY ntoskrnl.exe\nEXPORTS\n    KeNoSuchThing\n")
    (tmp_path / "d.c").write_text(
        "__declspec(dllimport) int KeNoSuchThing(void);\nint DriverEntry(void) { return KeNoSuchThing(); }\n"
    )
    run(["x86_64-w64-mingw32-dlltool", "-d", tmp_path / "k.def", "-l", tmp_path / "libk.a"])
    link = ["-nostdlib", "-shared", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry", "-L", tmp_path]
    run(["x86_64-w64-mingw32-gcc", *link, tmp_path / "d.c", "-lk", "-o", tmp_path / "wants.sys"])

    code, said = call("run", "--driver", tmp_path / "wants.sys")

    assert code == 2
    assert "'wants.sys' imports what the guest 'reference' lacks: 'ntoskrnl.exe!KeNoSuchThing'" in said
    sentences(said)


def test_a_folder_for_results_that_cannot_be(call):
    code, said = call("run", "--out", ROOT / "LICENSE")
    assert code == 2
    assert "cannot be made: File exists" in said
    sentences(said)


def test_no_scenarios_here(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, said = call("run")
    assert code == 2
    sentences(said)


def test_a_libvirt_that_refuses(call, monkeypatch):
    monkeypatch.setenv("WFP_HIL_LIBVIRT_URI", "qemu+unix:///system?socket=/nonexistent")
    code, said = call("run")
    assert code == 3
    assert "does not answer" in said
    sentences(said)


@pytest.mark.parametrize("words", [["--nic", "e1000"], ["--fresh", "never"], ["--vcpus", "0"]])
def test_an_option_with_a_value_that_it_does_not_know(call, words):
    code, said = call("run", *words)
    assert code == 2
    assert words[1] in said
    assert "Traceback" not in said


def test_what_cannot_be_cleared_up_is_no_reason_not_to_run(call, monkeypatch):
    def refuse() -> None:
        raise HostError("Not all could be removed: this.")

    asked = []

    def ensure(name: str) -> None:
        asked.append(name)
        raise UsageError("Far enough.", hint="No more.")

    monkeypatch.setattr(leftovers, "clean", refuse)
    monkeypatch.setattr(images, "ensure", ensure)
    code, said = call("run")
    assert code == 2
    assert asked == [load_profile("reference").name]
    assert "Not all could be removed: this." in said


@pytest.mark.parametrize(
    ("body", "options", "code"),
    [
        ("def test_one(): pass", [], 0),
        ("def test_one(): assert 0", [], 1),
        ("def test_one(): raise KeyboardInterrupt", [], 130),
        ("import pytest\ndef test_one(): pytest.exit('error: so', 3)", [], 3),
        ("import pytest\ndef test_one(): pytest.exit('error: so', 2)", [], 2),
        ("def test_one(): pass", ["--no-such-option"], 2),
        ("import no_such_module", [], 2),
    ],
)
def test_the_exit_codes_of_a_run(tmp_path, body, options, code):
    (tmp_path / "test_inner.py").write_text(body + "\n")
    script = f"from harness.cli.run import run_pytest; raise SystemExit(run_pytest({[str(tmp_path), *options]!r}))"
    done = run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.exit_code == code, done.stdout + done.stderr


def test_a_run_that_selects_nothing_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(pytest, "main", lambda *_, **__: pytest.ExitCode.NO_TESTS_COLLECTED)
    with pytest.raises(UsageError, match="No scenario was selected"):
        run_pytest([str(tmp_path)])


def test_what_pytest_starts_and_makes_is_known_as_this_run_s(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Path, bool]] = []

    def main(arguments: list[str], plugins: object) -> int:
        base = Path(arguments[arguments.index("--basetemp") + 1])
        seen.append((os.environ[OWNER_VARIABLE], base, base.parent.is_dir()))
        return 0

    monkeypatch.setattr(pytest, "main", main)

    assert run_pytest(["scenarios"]) == 0

    (mark, base, there), mine = seen[0], Owner.this_process().mark
    owner = owner_of_folder(base.parent)
    assert mark == mine
    assert owner is not None
    assert owner.mark == mine
    assert there
    assert not base.parent.exists()
    assert OWNER_VARIABLE not in os.environ
