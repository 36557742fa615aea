"""The page of a run: what stands in it, and what a real browser makes of it."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.link import Direction
from harness.report import Outcome
from harness.report.page import changes, render_page, write_page
from harness.report.page.changes import signatures
from harness.report.page.evidence import read_frames, timeline
from harness.witness.pcapng import PcapngWriter

# A UDP datagram, then the same one with its checksum spoilt.
ETHERNET = bytes.fromhex("525400000001525400000002") + b"\x08\x00"
IPV4 = bytes.fromhex("45000020000140004011b6c8c0000202c0000201")
UDP = bytes.fromhex("1e6100350 00c".replace(" ", ""))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(spoil: int = 0) -> bytes:
    header = bytearray(IPV4)
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    body = UDP + bytes(2) + b"abcd"
    pseudo = bytes(header[12:20]) + struct.pack(">BBH", 0, 17, len(body))
    return ETHERNET + bytes(header) + UDP + (checksum(pseudo + body) ^ spoil).to_bytes(2, "big") + b"abcd"


def result(scenario: str, outcome: Outcome, **more: object) -> dict[str, object]:
    return {
        "record": "result", "scenario": scenario, "outcome": outcome, "title": "Title.", "guest": "reference",
        "seconds": {"setup": 1.0, "call": 0.5}, **more,
    }  # fmt: skip


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, *results: dict[str, Any], ended: bool = True) -> Path:
        run = tmp_path / name
        run.mkdir()
        records = [{"record": "session", "guest": "reference", "driver": "a.sys"}, *results]
        if ended:
            records.append({"record": "end", "exit_code": 0, "counts": {}})
        (run / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return run

    return make


def fill(run: Path, name: str, *frames: bytes) -> str:
    folder = run / "scenarios" / name
    folder.mkdir(parents=True)
    with PcapngWriter(folder / "frames.pcapng", interface="link") as capture:
        for frame in frames:
            capture.write(frame, nanoseconds=1, direction=Direction.TO_GUEST, comment="step")
    lines = [f"   0.{number:04} s  frame  frame {number} to-guest udp" for number in range(1, len(frames) + 1)]
    event = {"seq": 7, "kind": "classify", "layer": "ALE_AUTH_CONNECT_V4", "value": 0}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    lines += ["   0.5000 s  event  event 7 classify ALE_AUTH_CONNECT_V4", "   0.6000 s  step   start fence"]
    (folder / "timeline.txt").write_text("\n".join(lines) + "\n")
    return str(folder)


def test_what_is_worst_comes_first_and_every_attempt_is_kept(make_run: Callable[..., Path]) -> None:
    page = render_page(
        make_run(
            "run",
            result("scenarios/a.py::test_one", Outcome.PASS, title="It works."),
            result("scenarios/a.py::test_two", Outcome.LOST, message="QEMU died."),
            result("scenarios/a.py::test_two", Outcome.PASS, attempt=2, title="Tried again."),
            result("scenarios/b.py::test_bad", Outcome.FAIL, message="wanted 1, saw 2", title="It fails."),
        )
    )

    titles = re.findall(r'<span class="title">([^<]*)<', page)
    assert titles == ["It fails.", "It works.", "Tried again."]
    assert "<title>1 FAIL" in page
    assert page.count("QEMU died.") == 1  # the first attempt, in the list of attempts
    assert "wanted 1, saw 2" in page


def test_what_a_guest_says_stays_text(make_run: Callable[..., Path]) -> None:
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    page = render_page(
        make_run(
            "run", result(f"a.py::test[{evil}]", Outcome.FAIL, message=evil, details=evil + "!", complaints=[evil])
        )
    )

    assert evil not in page
    assert page.count("<script>") == 1
    assert "<img" not in page


def test_no_path_in_the_results_leads_out_of_the_folder(make_run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "timeline.txt").write_text("   0.1000 s  step   a secret\n")
    run = make_run(
        "run", result("a.py::test", Outcome.PASS, folder="../../secret"), result("b", Outcome.PASS, folder="..")
    )
    (run / "scenarios").mkdir()
    (run / "scenarios" / "linked").symlink_to(tmp_path / "secret")

    page = render_page(run)

    assert "data-packed" not in page


def test_a_run_that_was_killed_is_shown_as_far_as_it_came(make_run: Callable[..., Path]) -> None:
    page = render_page(make_run("run", result("a.py::test", Outcome.PASS), ended=False))

    assert "the run did not end" in page


def test_a_folder_without_results_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There are no results at '.*results\.jsonl': No such file"):
        write_page(tmp_path)


def test_changes_are_told_by_what_they_mean() -> None:
    passed, failed, crashed = (Outcome.PASS, 1.0), (Outcome.FAIL, 1.0), (Outcome.CRASH, 1.0)
    before = {("a", ""): passed, ("b", ""): failed, ("c", ""): failed, ("d", ""): passed, ("e", ""): passed,
              ("f", ""): passed, ("g", ""): (Outcome.LOST, 1.0)}  # fmt: skip
    now = {("a", ""): failed, ("b", ""): passed, ("c", ""): crashed, ("d", ""): (Outcome.PASS, 2.5),
           ("e", ""): (Outcome.PASS, 1.9), ("g", ""): crashed, ("h", ""): passed}  # fmt: skip

    found = changes(before, now)

    assert [change.scenario for change in found.newly_failing] == ["a", "g"]
    assert [change.scenario for change in found.newly_passing] == ["b"]
    assert [(change.scenario, change.was, change.now) for change in found.otherwise] == [("c", "FAIL", "CRASH")]
    assert [change.scenario for change in found.slower] == ["d"]
    assert [change.scenario for change in found.added] == ["h"]
    assert [change.scenario for change in found.gone] == ["f"]
    assert not changes(now, now)


def test_a_crash_is_known_by_its_first_line() -> None:
    assert signatures(["X in a.sys+0x10\nstack 1", "X in a.sys+0x10\nstack 2", "", "Y"]) == ("X in a.sys+0x10", "Y")


def test_captures_that_are_cut_or_damaged_give_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "frames.pcapng"
    with PcapngWriter(path, interface="link") as capture:
        for number in range(3):
            capture.write(bytes([number]) * 60, nanoseconds=number, direction=Direction.FROM_GUEST, comment="")
    whole = path.read_bytes()
    assert [frame[0] for frame in read_frames(path)] == [0, 1, 2]

    path.write_bytes(whole[:-10])
    assert [frame[0] for frame in read_frames(path)] == [0, 1]
    for at in range(0, len(whole), 4):  # a length that lies, wherever it stands
        path.write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])
        assert len(list(read_frames(path))) <= 3
    assert list(read_frames(tmp_path / "nothing")) == []


def test_what_the_failure_names_is_marked(tmp_path: Path) -> None:
    folder = Path(fill(tmp_path, "x", datagram(), datagram()))

    seen = timeline(folder, "saw 1: frame 2 to-guest udp; nearest miss: event 7")

    marked = [(lane, number) for _, lane, _, number, mark in seen["entries"] if mark]
    assert marked == [("frame", 2), ("event", 7)]
    assert set(seen["frames"]) == {1, 2}
    assert seen["events"][7] == {"seq": 7, "kind": "classify", "layer": "ALE_AUTH_CONNECT_V4"}


# ---- in a browser ----


def browse(page: Path, place: str, *options: str) -> str:
    """The document as Chromium has it after the page's script has run."""
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
         f"--user-data-dir={page.parent / 'profile'}", *options, "--dump-dom", f"{page.as_uri()}{place}"],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert "Content Security Policy" not in done.stderr, done.stderr
    return re.sub(r"<script>.*?</script>", "", done.stdout, flags=re.DOTALL)


in_a_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="Ubuntu has no package of Chromium")


@in_a_browser
def test_a_frame_opens_to_its_layers_and_a_wrong_checksum_is_seen(make_run: Callable[..., Path]) -> None:
    run = make_run("run", result("a.py::test", Outcome.FAIL, message="saw frame 2", folder="x/one"))
    fill(run, "one", datagram(), datagram(spoil=1))
    page = write_page(run)

    good = browse(page, "#s1/frame/1")
    assert "192.0.2.2" in good
    assert "destination port</span><span>53" in good.replace(' class=""', "")
    assert good.count("(correct)") == 2
    assert "WRONG" not in good
    wrong = browse(page, "#s1/frame/2")
    assert wrong.count("(WRONG)") == 1
    assert 'class="entry marked" data-place="frame/2" open' in wrong
    event = browse(page, "#s1/event/7")
    assert "ALE_AUTH_CONNECT_V4" in event
    assert "<circle" in event


@in_a_browser
def test_two_thousand_results_make_a_page_that_opens(make_run: Callable[..., Path]) -> None:
    """Its figures are in benchmarks/report.py; here it has to be whole."""
    run = make_run(
        "run", *(result(f"scenarios/{n % 40}.py::t[{n}]", Outcome.PASS, folder=f"f{n}") for n in range(2000))
    )
    for number in range(2000):
        fill(run, f"f{number}", datagram())
    page = write_page(run)

    assert page.stat().st_size < 20 << 20
    seen = browse(page, "#s2000/frame/1")
    assert seen.count('class="cell PASS"') == 2000
    assert seen.count("(correct)") == 2
