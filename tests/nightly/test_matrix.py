"""A matrix: what it expands to, what of it cannot be run and why, and contradictions with file and key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.hypervisor import accelerator
from harness.nightly import cells as cells_module
from harness.nightly.budget import Cost, budget_of, cost_of
from harness.nightly.cells import Cell, expand, require_host
from harness.nightly.made_of import why_again
from harness.nightly.matrix import load_matrix

GOOD = """
[matrix]
guests = ["reference"]
nics = ["e1000e", "igb"]
verifier = ["off", "standard"]
firewall = ["on", "off"]

[scenarios]
redirect = ["scenarios/redirect"]
flow = ["scenarios/flow_context", "-k", "zero"]
"""


@pytest.fixture(autouse=True)
def _nothing_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which scenarios a selection has is pytest's affair, and takes seconds."""
    found = "scenarios/redirect/test_redirect.py::test_"
    monkeypatch.setattr(cells_module, "_select", lambda matrix, name, root: ((name,), (found + name,)))


@pytest.fixture
def expanded(tmp_path: Path):
    def expanded(text: str) -> list[Cell]:
        path = tmp_path / "night.toml"
        path.write_text(text)
        return expand(load_matrix(path))

    return expanded


def test_every_combination_is_a_cell_and_what_the_guest_lacks_is_refused_with_the_reason(expanded) -> None:
    cells = expanded(GOOD)

    assert len(cells) == 2 * 2 * 2 * 2
    assert len({cell.id for cell in cells}) == len(cells)
    run = [cell for cell in cells if not cell.refused]
    assert {(cell.value("verifier"), cell.value("firewall")) for cell in run} == {("off", "off")}
    assert len(run) == 4
    # What holds of the reference guest anyway is not asked of it: it would refuse.
    assert run[0].words == ("--guest", "reference", "--nic", "e1000e", "--machines", "1", "redirect")
    reasons = {(cell.value("verifier"), cell.value("firewall")): cell.refused for cell in cells}
    assert "no Driver Verifier" in reasons["standard", "off"]
    assert "no Windows Firewall" in reasons["off", "on"]


def test_a_windows_guest_is_asked_for_verifier_and_firewall(expanded) -> None:
    cells = expanded(GOOD.replace('["reference"]', '["windows-11"]'))

    assert not any(cell.refused for cell in cells)
    assert cells[0].words[:8] == (
        "--guest", "windows-11", "--nic", "e1000e", "--verifier", "off", "--firewall", "on",
    )  # fmt: skip


def test_what_is_left_out_stays_as_it_is(expanded) -> None:
    (cell,) = expanded('[matrix]\nguests = ["reference"]\n')

    assert cell.id == "reference+own+all"
    assert cell.words == ("--guest", "reference", "--machines", "1", "all")
    assert not cell.refused


def test_an_exclusion_is_a_skip_with_its_reason(expanded) -> None:
    cells = expanded(
        GOOD + '[[exclude]]\nnic = "igb"\nscenarios = "flow"\nreason = "nothing in it depends on the NIC"\n'
    )

    excluded = {cell.id for cell in cells if "excludes it: nothing in it" in cell.refused}
    assert len(excluded) == 4
    assert all("igb" in each and "flow" in each for each in excluded)


def test_a_cell_is_made_of_its_driver_file(expanded, tmp_path: Path, product: Path) -> None:
    text = GOOD + '[drivers]\nmine = "mine.sys"\n'
    shutil.copy(product, tmp_path / "mine.sys")
    first = expanded(text)
    with (tmp_path / "mine.sys").open("ab") as file:
        file.write(b"more")

    again = expanded(text)
    assert [cell.id for cell in first] == [cell.id for cell in again]
    for was, now in zip(first, again, strict=True):
        if not was.refused:
            assert why_again(was.made_of, now.made_of) == "changed since: the driver"


@pytest.fixture
def product() -> Path:
    path = Path("drivers/build/wfpcallout.sys")
    found = [path] if path.exists() else sorted(Path("drivers").rglob("build/**/wfpcallout.sys"))
    if not found:
        pytest.skip("the callout driver is not built")
    return found[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"e1000e", "igb"', '"e1000e", "e1000e"', r"line 4: key 'matrix.nics': 'e1000e' stands there twice"),
        ('"e1000e"', '"e1000"', r"line 4: key 'matrix.nics.0' is 'e1000', wanted 'e1000e'"),
        ('["reference"]', '["referense"]', r"line 3: key 'matrix.guests': There is no profile 'referense'"),
        ('["reference"]', "[]", r"line 3: key 'matrix.guests' is "),
        ('["reference"]', '["reference", "vm-images/reference"]', r"key 'matrix.guests': .*"),
        ('"-k", "zero"', '"--guest=x"', r"line 10: key 'scenarios.flow': '--guest=x' contradicts .* 'matrix.guests'"),
        ('"-k", "zero"', '"-n4"', r"key 'scenarios.flow': '-n4' contradicts the matrix"),
        ("[scenarios]", "scenarios = ['no']\n[scenarios]", r"key 'matrix.scenarios': 'no' is none of \[scenarios\]"),
        ("[scenarios]", "drivers = ['x']\n[scenarios]", r"key 'matrix.drivers': 'x' is none of \[drivers\]"),
        ("[scenarios]", "[drivers]\nx = 'no.sys'\n[scenarios]", r"key 'drivers.x': .*no.sys"),
        ("[scenarios]", "[drivers]\nx = 'night.toml'\n[scenarios]", r"key 'drivers.x': '.*toml' is not a PE file"),
        ("[scenarios]", "[[exclude]]\nreason = 'x'\n[scenarios]", r"line 8: key 'exclude': entry 1 names no axis"),
        (
            "[scenarios]", "[[exclude]]\nguest = 'windows-11'\nreason = 'x'\n[scenarios]",
            r"entry 1: guest 'windows-11' is not in the matrix, which has reference",
        ),
        ('["off", "standard"]', '["standard"]', r"key 'matrix': nothing is left to run of 8 cells; .*Driver Verifier"),
        (
            "[scenarios]", "[[exclude]]\nverifier = 'low-resources'\nreason = 'x'\n[scenarios]",
            r"entry 1: verifier 'low-resources' is not in the matrix, which has off, standard\.$",
        ),
        ("[matrix]", "[matricks]", r"key 'matricks' is not known"),
        ('["reference"]', '"reference"', r"line 3: key 'matrix.guests' is 'reference', wanted a list, in brackets"),
        ('"-k", "zero"', '"--vcpus=4"', r"key 'scenarios.flow': '--vcpus=4' contradicts .* by 'run.vcpus'"),
        ('"-k", "zero"', '"--numprocesses", "4"', r"'--numprocesses' contradicts the matrix, .* 'run.machines'"),
        ("[scenarios]", "[run]\nvcpus = 9999\n[scenarios]", r"line 9: key 'run.vcpus': A guest with 9999 processors"),
        ("[scenarios]", "[run]\nminutes = 0\n[scenarios]", r"line 9: key 'run.minutes' is 0, wanted"),
        ("[scenarios]", "[budget]\ndisk_mib = 0\n[scenarios]", r"line 9: key 'budget.disk_mib' is 0, wanted"),
        ("guests", "guest", r"key 'matrix.guest' is not known"),
        ("[scenarios]", "[budget]\ncores = 0\n[scenarios]", r"key 'budget.cores' is 0, wanted"),
        ("[matrix]", "path = 'x'\n[matrix]", r"key 'path' is not known"),
        ("nics =", "nics", r"line 4"),
    ],
)  # fmt: skip
def test_a_contradiction_names_file_and_key(expanded, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        expanded(GOOD.replace(old, new, 1))

    assert re.search(r"'/.*/night\.toml'.*" + said, refused.value.message), refused.value.message
    assert refused.value.hint
    assert refused.value.exit_code == 2


def test_an_axis_that_is_left_out_has_nothing_to_exclude(expanded) -> None:
    with pytest.raises(ConfigError, match=r"nic 'igb' is not in the matrix, which has nothing to choose of: .* 'nics'"):
        expanded('[matrix]\nguests = ["reference"]\n[[exclude]]\nnic = "igb"\nreason = "x"\n')


def test_processors_are_those_of_every_guest_and_count_for_the_budget(expanded) -> None:
    (cell,) = expanded('[matrix]\nguests = ["reference"]\n[run]\nvcpus = 2\n')

    assert cell.words == ("--guest", "reference", "--machines", "1", "--vcpus", "2", "all")
    assert cost_of(cell).cores == 2


def test_a_build_that_a_guest_would_not_load_is_said_before_the_night(expanded, tmp_path: Path, product: Path) -> None:
    """By the Windows that it is to run on; where no cell has that guest it does not matter."""
    shutil.copy(product, tmp_path / "mine.sys")
    data = (tmp_path / "mine.sys").read_bytes()
    (tmp_path / "mine.sys").write_bytes(
        data.replace(b"NdisAdvanceNetBufferDataStart\0", b"NdisAdvanceNetBufferDataSharp\0")
    )
    assert data != (tmp_path / "mine.sys").read_bytes()
    text = GOOD + '[drivers]\nmine = "mine.sys"\n'

    with pytest.raises(ConfigError) as refused:
        expanded(text)

    said = r"'/.*/night\.toml', line 12: key 'drivers\.mine': on guest 'reference': .*NdisAdvanceNetBufferDataSharp"
    assert re.search(said, refused.value.message, re.DOTALL), refused.value.message


def test_a_guest_without_an_image_is_said_before_the_night(expanded, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "cache"))
    text = '[matrix]\nguests = ["reference", "windows-11"]\n'
    cells = expanded(text)  # a plan needs none
    matrix = load_matrix(tmp_path / "night.toml")

    require_host(matrix, [cell for cell in cells if cell.value("guest") == "reference"])
    with pytest.raises(ConfigError) as refused:
        require_host(matrix, cells)
    assert "night.toml', line 2: key 'matrix.guests': There is no image of 'windows-11' yet" in refused.value.message
    assert refused.value.hint == "wfp-hil image build windows-11 --iso FILE"


def test_a_nic_that_this_qemu_has_not_is_said_before_the_night(expanded, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(accelerator, "nic_models", lambda emulator: {"e1000e"})
    monkeypatch.setattr(accelerator, "find_emulator", lambda: Path("qemu"))
    cells = expanded(GOOD)
    matrix = load_matrix(tmp_path / "night.toml")

    require_host(matrix, [cell for cell in cells if cell.value("nic") == "e1000e"])
    with pytest.raises(ConfigError) as refused:
        require_host(matrix, cells)
    said = "night.toml', line 4: key 'matrix.nics': This QEMU has no test NIC of model 'igb'; it has e1000e."
    assert said in refused.value.message
    assert refused.value.hint == "'igb' needs QEMU 8.0 or newer."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('"--no-such-option"', r"pytest refuses .*error: unrecognized arguments: --no-such-option\.$"),
        ('"nowhere/test_x.py"', r"pytest refuses .*ERROR: file or directory not found: nowhere/test_x\.py\.$"),
        ('"scenarios/callout/test_icmp.py", "-k", "nosuchthing"', r"no scenario is selected by '.*nosuchthing'"),
    ],
)
def test_what_pytest_refuses_of_a_selection_is_told_in_its_words(
    tmp_path: Path, monkeypatch, words: str, said: str
) -> None:
    monkeypatch.undo()  # really collected
    path = tmp_path / "night.toml"
    path.write_text(f'[matrix]\nguests = ["reference"]\n[scenarios]\nx = [{words}]\n')

    with pytest.raises(ConfigError) as refused:
        expand(load_matrix(path))

    assert re.search(r"night\.toml', line 4: key 'scenarios\.x': " + said, refused.value.message), refused.value.message


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("cores = 3", "key 'budget.cores': it is 3, and this host has 2 free"),
        ("memory_mib = 9000", "key 'budget.memory_mib': it is 9000, and this host has 8192 free"),
        ("memory_mib = 1000", "takes 1280 MiB of memory, of which there are 1000"),
        ("disk_mib = 100", "takes 2048 MiB of disk, of which there are 100"),
    ],
)
def test_a_budget_is_neither_more_than_the_host_has_nor_too_little_for_a_cell(tmp_path, keys: str, said: str) -> None:
    path = tmp_path / "night.toml"
    path.write_text(GOOD + f"[budget]\n{keys}\n")
    matrix = load_matrix(path)

    with pytest.raises(ConfigError, match=said):
        budget_of(matrix, expand(matrix), Cost(cores=2, memory_mib=8192, disk_mib=8192))
