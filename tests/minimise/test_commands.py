"""The commands around a search, as far as they need no guest: bundles, seeds, and what is mistyped."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import unbundle
from harness.cli.bundle import bundle
from harness.cli.repeat import repeat_until, seeds_of
from harness.driver.symbols import Symbols
from harness.errors import UsageError
from harness.minimise.bundle import MANIFEST, pack
from harness.minimise.criterion import parse_criterion
from harness.minimise.kept import CAPTURE, RECORD, SCENARIO, Reproduction, read_record, write_record
from harness.minimise.packets import capture_of, tcp
from harness.plugin import trying
from harness.plugin.options import RunOptions
from harness.report import Outcome
from harness.reproduce import Settings
from tests.minimise.field import GUEST, field_capture
from tests.minimise.ledger import CRASH, LOST, PASS
from tests.minimise.planted.builds import FIRST_BAD, build, can_build
from tests.running import WFP_HIL

KEPT = Reproduction(
    guest="reference", driver="x.sys", driver_sha256=hashlib.sha256(b"MZdriver").hexdigest(), until="crash",
    guest_addresses=(GUEST,), packets=1, source="field.pcapng", source_packets=99, verdict="CRASH", seen="3 of 3",
    harness="0.1", image="0123",
)  # fmt: skip


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A folder as a search leaves it."""
    folder, driver = tmp_path / "bug", tmp_path / "somewhere" / "x.sys"
    folder.mkdir()
    driver.parent.mkdir()
    driver.write_bytes(b"MZdriver")
    capture_of([tcp("198.51.100.7:1", f"{GUEST}:80", "S")]).write(folder / CAPTURE)
    (folder / SCENARIO).write_text("def test_x(replay): ...\n")
    (folder / "tries.jsonl").write_text("{}\n")
    write_record(folder, KEPT, driver)
    return folder


def test_what_a_driver_needs_goes_with_it(searched: Path, tmp_path: Path) -> None:
    """Its INF where it has one; its debug information, which has paths of sources, only where that is asked for."""
    driver, out = tmp_path / "somewhere" / "x.sys", tmp_path / "bug.wfpbundle"
    driver.with_suffix(".inf").write_text("[Version]\n")
    with pytest.raises(UsageError, match=r"no debug information of '.*x\.sys' in a file of its own"):
        bundle(searched, None, out, symbols=True)

    bundle(searched, None, out)

    with unbundle.unbundled(out) as inside:
        assert inside.driver.with_suffix(".inf").read_text() == "[Version]\n"


@pytest.mark.skipif(not can_build(), reason="mingw-w64 is not installed")
def test_names_of_functions_go_along_when_asked_for(searched: Path, tmp_path: Path) -> None:
    driver, out = build(FIRST_BAD, tmp_path / "builds"), tmp_path / "bug.wfpbundle"
    write_record(searched, replace(KEPT, driver_sha256=hashlib.sha256(driver.read_bytes()).hexdigest()), driver)

    bundle(searched, None, out, symbols=True)

    with unbundle.unbundled(out) as inside:
        assert Symbols(inside.driver).source == inside.driver.with_suffix(".debug")


def test_a_folder_is_packed_and_comes_out_again(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bug.wfpbundle"
    bundle(searched, None, out)
    with unbundle.unbundled(out) as inside:
        assert inside.kept == KEPT
        assert inside.driver.read_bytes() == b"MZdriver"
        assert inside.capture.read_bytes() == (searched / CAPTURE).read_bytes()
        place = inside.capture.parent
    assert not place.exists()
    said = capsys.readouterr().err
    assert "1 of 99 packets of field.pcapng" in said
    assert "The image was 0123, which this checkout does not make" in said


def test_no_secret_and_no_path_of_the_host_is_in_it(searched: Path, tmp_path: Path) -> None:
    """Neither where things lay here, nor anything that looks like a key or a password."""
    out = tmp_path / "bug.wfpbundle"
    bundle(searched, None, out)
    with zipfile.ZipFile(out) as archive:
        assert set(archive.namelist()) == {MANIFEST, "minimised.pcapng", "x.sys", SCENARIO, "guest.toml", "tries.jsonl"}
        whole = b"\n".join(archive.read(name) for name in archive.namelist())
    for word in (str(tmp_path), "driver_path", "PRIVATE KEY", "password", "passwd", "/root/", "/home/"):
        assert word.encode() not in whole, word


def test_another_driver_is_not_packed(searched: Path, tmp_path: Path) -> None:
    (tmp_path / "somewhere" / "x.sys").write_bytes(b"MZanother")
    with pytest.raises(UsageError, match="is not the driver of this reproduction"):
        bundle(searched, None, tmp_path / "bug.wfpbundle")
    (tmp_path / "somewhere" / "x.sys").unlink()
    with pytest.raises(UsageError, match="is no longer at"):
        bundle(searched, None, tmp_path / "bug.wfpbundle")
    with pytest.raises(UsageError, match=RECORD):
        bundle(tmp_path, None, tmp_path / "bug.wfpbundle")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guest": "../../tmp/evil"}, "wanted the name of a profile"),
        ({"guest": 7}, "'guest', which makes no sense"),
        ({"guest_addresses": "x"}, "'guest_addresses', which makes no sense"),
        ({"patience": True}, "'patience', which makes no sense"),
        ({"until": "x" * 9999}, "'until', which makes no sense"),
        ({"driver_sha256": "00"}, "is not the one that it was made with"),
    ],
)
def test_a_bundle_that_says_nonsense_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    capture, driver = tmp_path / "c.pcapng", tmp_path / "x.sys"
    capture.write_bytes(b"")
    driver.write_bytes(b"MZdriver")
    record = KEPT.as_record() | change
    packed = pack(tmp_path / "b.zip", {"capture": capture, "driver": driver}, {"reproduction": record})
    with pytest.raises(UsageError) as refused, unbundle.unbundled(packed):
        pytest.fail("it was taken")
    assert said in refused.value.message


def test_a_bundle_without_a_reproduction_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"")
    packed = pack(tmp_path / "b.zip", {"capture": tmp_path / "c"}, {})
    with pytest.raises(UsageError, match="does not say how"), unbundle.unbundled(packed):
        pytest.fail("it was taken")


@pytest.mark.parametrize(("name", "value"), [("timing", "slow"), ("contract", "maybe"), ("nic", "ne2000")])
def test_options_of_a_bundle_are_among_ours(name: str, value: str) -> None:
    kept = Reproduction.from_record(KEPT.as_record() | {name: value}, "It")
    with pytest.raises(UsageError, match=f"has '{value}' for '{name}'"):
        {"timing": unbundle.timing_of, "contract": unbundle.contract_of, "nic": unbundle.nic_of}[name](kept)


def test_a_record_survives_its_file(searched: Path) -> None:
    kept, driver = read_record(searched)
    assert kept == KEPT
    assert driver is not None
    assert driver.name == "x.sys"
    (searched / RECORD).write_text("[]")
    with pytest.raises(UsageError, match="is no record"):
        read_record(searched)
    (searched / RECORD).write_text(json.dumps({"guest": "reference"}))
    with pytest.raises(UsageError, match="does not say 'driver'"):
        read_record(searched)


@pytest.mark.parametrize(("text", "seeds"), [("0", [0]), ("7", [7]), ("1-3", [1, 2, 3])])
def test_seeds_are_a_range(text: str, seeds: list[int]) -> None:
    assert list(seeds_of(text)) == seeds


@pytest.mark.parametrize("text", ["", "x", "3-1", "-1", "1-", "0-999999999", "1-2-3", "²"])
def test_what_is_no_range_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no range of seeds"):
        seeds_of(text)


@pytest.mark.parametrize(
    ("verdicts", "code", "said"),
    [
        ([PASS, PASS, PASS, CRASH], 1, "with seed 1 in attempt 4"),
        ([PASS] * 6, 0, "never came to 'crash' in 6 attempts: 6 PASS"),
        ([LOST] * 6, 3, "6 LOST"),
        ([PASS, LOST] * 3, 0, "3 PASS, 3 LOST"),
    ],
)
def test_attempts_are_made_until_one_is_what_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    verdicts: list[Any], code: int, said: str,
) -> None:  # fmt: skip
    from contextlib import contextmanager

    rest = list(verdicts)

    @contextmanager
    def trials(options: object, settings: object) -> Any:
        yield trying.Trials([lambda capture: rest.pop(0)], {"driver_sha256": "d"})

    monkeypatch.setattr(trying, "open_trials", trials)
    options = RunOptions(guest="reference", driver=None, nic=None, fresh="test", reuse_boot=True, out=tmp_path / "out")
    capture = field_capture(connections=6, culprit=2)
    ended = repeat_until(capture, parse_criterion("crash"), options, Settings(), range(2), 3)
    assert ended == code
    printed = capsys.readouterr().out
    assert said in printed
    found = tmp_path / "out" / "found.pcapng"
    assert found.exists() == (code == 1)
    assert (f"wfp-hil minimise {found} " in printed) == (code == 1)
    assert Outcome.CRASH in {verdict.outcome for verdict in verdicts} or code != 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["minimise", "none.pcapng", "--until", "crashed"], "names 'crashed', which is not known (there is 'crash')"),
        (["minimise", "none.pcapng"], "none.pcapng"),
        (["minimise", "none.pcapng", "--patience", "0"], "--patience is 0 seconds"),
        (["bisect", "none", "--capture", "none.pcapng"], "'none' cannot be read"),
        (["bundle", "none"], "reproduction.json' cannot be read"),
    ],
)
def test_what_is_mistyped_costs_no_guest(tmp_path: Path, words: list[str], said: str) -> None:
    done = subprocess.run([WFP_HIL, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
