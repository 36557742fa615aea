"""`wfp-hil nightly` on its way to a night: what is wrong is said, and nothing has been made or started by then."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import ConfigError
from harness.hypervisor import accelerator
from harness.nightly import cells as cells_module
from harness.nightly.pool import Pool

RUNNER = CliRunner()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """Nights that were begun; what this QEMU has is e1000e alone, and every selection has one scenario."""
    begun: list[Pool] = []

    def run(pool: Pool) -> None:
        begun.append(pool)

    monkeypatch.setattr(Pool, "run", run)
    monkeypatch.setattr(accelerator, "find_emulator", lambda: Path("qemu"))
    monkeypatch.setattr(accelerator, "nic_models", lambda emulator: {"e1000e"})
    found = ("scenarios/redirect/test_redirect.py::test_it",)
    monkeypatch.setattr(cells_module, "_select", lambda matrix, name, root: ((name,), found))
    return begun


def nightly(tmp_path: Path, text: str, *options: str):
    (tmp_path / "m.toml").write_text(text)
    return RUNNER.invoke(app, ["nightly", str(tmp_path / "m.toml"), "--out", str(tmp_path / "nights"), *options])


NO_SUCH_NIC = '[matrix]\nguests = ["reference"]\nnics = ["e1000e", "igb"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NO_SUCH_NIC, "line 3: key 'matrix.nics': This QEMU has no test NIC of model 'igb'"),
        ('[matrix]\nguests = ["reference"]\n[budget]\ncores = 0\n', "line 4: key 'budget.cores' is 0"),
        (
            '[matrix]\nguests = ["reference"]\n[budget]\ncores = 999\n',
            "line 4: key 'budget.cores': it is 999, and this",
        ),
        ('[matrix]\nguests = ["reference"]\n[drivers]\nx = "m.toml"\n', "line 4: key 'drivers.x': "),
        ('[matrix]\nguests = ["reference"]\nverifier = ["standard"]\n', "key 'matrix': nothing is left to run"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_begun(tmp_path: Path, started: list[Pool], text: str, said: str) -> None:
    done = nightly(tmp_path, text)

    assert isinstance(done.exception, ConfigError)
    assert f"m.toml', {said}" in done.exception.message or f"m.toml', line 1: {said}" in done.exception.message
    assert done.exception.exit_code == 2
    assert not started
    assert [path.name for path in tmp_path.iterdir()] == ["m.toml"]


def test_a_plan_begins_nothing_and_says_what_this_host_lacks(tmp_path: Path, started: list[Pool]) -> None:
    done = nightly(tmp_path, NO_SUCH_NIC, "--plan")

    assert done.exit_code == 0
    # A log is not cut as a terminal of 80 columns would be.
    assert "reference+e1000e+own+all" in done.stdout
    assert "2 cells with 2 scenarios" in done.stdout
    assert "It could not begin on this host: '" in done.stdout
    assert "This QEMU has no test NIC of model 'igb'; it has e1000e." in done.stdout
    assert not started
    assert [path.name for path in tmp_path.iterdir()] == ["m.toml"]
