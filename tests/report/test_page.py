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
    call = {"number": 1, "op": "recv", "subject": "x", "result": "4 bytes", "seconds": 0.3,
            "asked": {"socket": 5, "count": 4}, "reply": {"ok": True, "hex": "61626364"}}  # fmt: skip
    (folder / "sockets.jsonl").write_text(json.dumps(call) + "\n")
    lines += ["   0.2000 s  socket  socket 1 recv 192.0.2.2:7777: 4 bytes (300.0 ms)"]
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

    titles = re.findall(r'<span class="title">([^<]*?) ?<', page)
    assert titles == ["It fails.", "It works.", "Tried again."]
    assert "<title>1 FAIL" in page
    assert page.count("QEMU died.") == 2  # above, where second attempts are listed, and among its own attempts
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

    seen = timeline(folder, "saw 1: frame 2 to-guest udp. Nearest miss: event 7")

    marked = {(lane, number): mark for _, lane, _, number, mark in seen["entries"] if mark}
    assert marked == {("frame", 2): 1, ("event", 7): 2}
    assert set(seen["frames"]) == {1, 2}
    assert seen["sockets"][1]["reply"] == {"ok": True, "hex": "61626364"}
    assert seen["events"][7] == {"seq": 7, "kind": "classify", "layer": "ALE_AUTH_CONNECT_V4"}


# ---- in a browser ----


def browse(page: Path, place: str, *options: str) -> str:
    """The document as Chromium has it after the page's script has run."""
    # Files, not pipes: what Chromium has started may outlive it, and hold a pipe open.
    seen, told = page.with_name("seen.html"), page.with_name("chromium.log")
    with seen.open("wb") as document, told.open("wb") as complaints:
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
             f"--user-data-dir={page.parent / 'profile'}", *options, "--dump-dom", f"{page.as_uri()}{place}"],
            stdin=subprocess.DEVNULL, stdout=document, stderr=complaints, timeout=300, check=False,
        )  # fmt: skip
    said = told.read_text(errors="replace")
    assert done.returncode == 0, said
    assert "Content Security Policy" not in said, said
    return re.sub(r"<script>.*?</script>", "", seen.read_text(encoding="utf-8"), flags=re.DOTALL)


def in_a_browser(test: Callable[..., None]) -> Callable[..., None]:
    """A test that starts Chromium, some times one after the other: each has the time that `browse` gives it."""
    there = pytest.mark.skipif(shutil.which("chromium") is None, reason="Ubuntu has no package of Chromium")
    return pytest.mark.timeout(900)(there(test))


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
    lanes = re.findall(r'<text x="0" y="[0-9]+" class="lane ([a-z]+)">', event)
    assert lanes == ["frame", "event", "socket", "step"]
    call = browse(page, "#s1/socket/1")
    assert "0000  61 62 63 64" in call
    assert 'data-place="socket/1" open' in call


FAILED = "expect(witness).none: wanted no frame to port 53, saw 1: frame 2 to-guest udp. Nearest miss: event 7 x."


def test_what_ended_a_scenario_and_where_a_replay_departed_are_marked(tmp_path: Path) -> None:
    folder = Path(fill(tmp_path, "x", datagram()))
    more = [
        "   0.0002 s  replay  Packet 4: It is larger than the link takes, and left out.",
        "   0.7000 s  frame   FAIL: expect(witness).none: wanted a, saw b.",
        "   0.7100 s  socket  socket 9 FAIL: said by the guest",
        "   0.7200 s  step    stop FAIL: fence",
    ]
    with (folder / "timeline.txt").open("a") as file:
        file.write("\n".join(more) + "\n")

    seen = timeline(folder, "")

    assert [(*entry[:2], entry[4]) for entry in seen["entries"] if entry[4]] == [
        (0.0002, "replay", 4), (0.7, "frame", 3),
    ]  # fmt: skip


def test_what_ended_a_scenario_is_there_however_much_there_was_before(tmp_path: Path) -> None:
    lines = [f"   0.{n:04} s  replay  Packet {n}: It did not come." for n in range(400)]
    lines += [f"   1.{n:04} s  frame   frame {n} to-guest udp" for n in range(1, 2500)]
    lines += ["   2.0000 s  step    FAIL: The driver left 2 injections pending after its rules were removed."]
    (tmp_path / "timeline.txt").write_text("\n".join(lines) + "\n")

    seen = timeline(tmp_path, "saw frame 2400")

    marks = [entry[4] for entry in seen["entries"]]
    assert (marks.count(0), marks.count(1), marks.count(3), marks.count(4)) == (2000, 1, 1, 200)
    assert seen["left_out"] == 200 + 2499 - 2001


@in_a_browser
def test_frames_of_the_second_link_have_a_lane_of_their_own(make_run: Callable[..., Path]) -> None:
    told = "expect(far.witness).none: wanted no frame to port 53, saw 1: far frame 2 to-guest udp"
    run = make_run("run", result("a.py::test", Outcome.FAIL, message=told, folder="x/one"))
    folder = Path(fill(run, "one", datagram(), datagram()))
    with PcapngWriter(folder / "far-frames.pcapng", interface="link") as capture:
        for spoil in (0, 1):
            capture.write(datagram(spoil), nanoseconds=1, direction=Direction.TO_GUEST, comment="step")
    with (folder / "timeline.txt").open("a") as file:
        lines = [f"   0.30{number} s  far     far frame {number} to-guest udp" for number in (1, 2)]
        file.write("\n".join([*lines, f"   0.5500 s  far     FAIL: {told}"]) + "\n")

    seen = browse(write_page(run), "#s1/far/2")

    strip = seen[seen.index('<svg class="strip"') : seen.index("</svg>")]
    assert re.search(r'class="mark far saw">.*?<circle [^>]*class="ring"', strip)
    assert 'class="mark frame saw"' not in strip
    crossed = re.search(r'<path d="M[0-9.]+ ([0-9.]+)l10 10m0 -10l-10 10" class="cross">', strip)
    rail = re.search(r'y="([0-9]+)" class="lane far">far wire<', strip)
    assert float(rail[1]) - 4 == float(crossed[1]) + 5
    assert 'href="#s1/far/2">far frame 2</a>' in seen
    opened = seen[seen.index('data-place="far/2"') :]
    assert 'class="wrong"' in opened[: opened.index("</details>")]  # of that link's second frame, and of no other


@in_a_browser
@pytest.mark.parametrize("is_written", [True, False], ids=["with its time", "of an earlier wfp-hil"])
def test_what_was_wanted_and_seen_stands_on_the_timeline(make_run: Callable[..., Path], is_written: bool) -> None:
    message = FAILED + " Timeline: /out/timeline.txt"
    run = make_run("run", result("a.py::test", Outcome.FAIL, message=message, folder="x/one"))
    folder = Path(fill(run, "one", datagram(), datagram()))
    if is_written:
        with (folder / "timeline.txt").open("a") as file:
            file.write(f"   0.5500 s  frame   FAIL: {FAILED}\n   0.9000 s  step    stop fence\n")

    seen = browse(write_page(run), "#s1")

    strip = seen[seen.index('<svg class="strip"') : seen.index("</svg>")]
    assert re.search(r'class="mark frame saw">.*?<circle [^>]*class="ring"', strip)
    assert re.search(r'class="mark event nearest">', strip)
    # In the lane of the witness that was asked, at its time: before the step that followed.
    (crossed,) = re.findall(r'<path d="M([0-9.]+) ([0-9.]+)l10 10m0 -10l-10 10" class="cross">', strip)
    (line,) = re.findall(r'<line x1="([0-9.]+)" x2="[0-9.]+" [^>]*class="end">', strip)
    rail = re.search(r'y="([0-9]+)" class="lane frame"', strip)
    assert float(line) == float(crossed[0]) + 5
    assert float(rail[1]) - 4 == float(crossed[1]) + 5
    last = max(float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', strip))
    later = [float(x) + 1 for x in re.findall(r'<rect x="([0-9.]+)" y="[0-9.]+" width="2"', strip)]
    assert (float(line) < min(later)) if is_written else (float(line) > last)
    words = re.sub(
        r"<title>.*?</title>|<[^>]*>", "", "".join(re.findall(r'<text [^>]*class="verdict.*?</text>', strip))
    )
    assert words == "wanted no frame to port 53saw 1: frame 2 to-guest udp"
    judged = seen[seen.index('class="plain judged"') :]
    assert 'tag wanted">wanted</span> no frame to port 53' in judged
    assert 'href="#s1/frame/2">frame 2</a>' in judged[: judged.index("nearest miss</span>")]
    assert 'href="#s1/event/7">event 7</a>' in judged[judged.index("nearest miss</span>") :]
    assert 'href="#s1/event/7">event 7</a>' in seen[: seen.index('class="plain judged"')]  # in the message itself


@in_a_browser
def test_where_a_replay_departed_has_a_lane_and_is_listed(make_run: Callable[..., Path]) -> None:
    departure = {"text": "The guest's <b>datagram</b> did not come.", "numbers": [4, 9], "count": 30}
    run = make_run("run", result("a.py::test", Outcome.PASS, folder="x/one", departures=[departure, {}, 7]))
    folder = Path(fill(run, "one", datagram()))
    with (folder / "timeline.txt").open("a") as file:
        file.write("   0.3000 s  replay  Packet 4: The guest's datagram did not come.\n")

    seen = browse(write_page(run), "#s1")

    assert "packets 4, 9 and 28 more: The guest&#39;s &lt;b&gt;datagram" in render_page(run)
    assert re.search(r'class="lane replay">replay</text>', seen)
    assert re.search(r'<g class="mark replay departure"><title>300.0 ms Packet 4: The guest', seen)
    assert 'tag departure">departure</span> Packet 4' in seen


def after(page: Path, script: str) -> str:
    """The document after a person has done something: a copy without the policy that forbids other scripts."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy = page.with_name("copy.html")
    copy.write_text(text.replace("</body>", f"<script>addEventListener('load', () => {{ {script} }});</script></body>"))
    return browse(copy, "")


def shown(document: str) -> list[str]:
    """The scenarios that are not hidden."""
    found = re.findall(r'<details class="scenario" id="(s[0-9]+)"([^>]*)>', document)
    return [number for number, attributes in found if "hidden" not in attributes]


@in_a_browser
def test_keys_and_filters_find_what_did_not_pass(make_run: Callable[..., Path]) -> None:
    outcomes = [Outcome.PASS, Outcome.FAIL, Outcome.PASS, Outcome.CRASH]
    page = write_page(
        make_run("run", *(result(f"a.py::test_{n}", outcome, message="x") for n, outcome in enumerate(outcomes)))
    )
    press = "for (const key of '{}') dispatchEvent(new KeyboardEvent('keydown', {{ key, bubbles: true }}));"
    press = press.replace("dispatchEvent", "document.body.dispatchEvent")

    assert shown(after(page, "")) == ["s4", "s2", "s1", "s3"]  # the worst on top
    once = after(page, press.format("n"))
    assert re.search(r'id="s4"[^>]*open', once)
    twice = after(page, press.format("nn"))
    assert re.search(r'id="s2"[^>]*open', twice)
    click = "document.querySelector('#filters [data-outcome=PASS]').click();"
    assert shown(after(page, click)) == ["s4", "s2"]
    search = "const s = document.getElementById('search'); s.value = 'test_2'; s.dispatchEvent(new Event('input'));"
    assert shown(after(page, search)) == ["s3"]
    assert "1 of 4 shown" in after(page, search)


@in_a_browser
def test_on_paper_what_did_not_pass_is_open_and_its_timeline_is_ready(make_run: Callable[..., Path]) -> None:
    """A printer does not wait for a timeline to be unpacked: it has to be there before anybody prints."""
    run = make_run(
        "run", result("a.py::bad", Outcome.FAIL, message="wanted a, saw b", folder="x/one"),
        result("a.py::good", Outcome.PASS, folder="x/two"),
    )  # fmt: skip
    fill(run, "one", datagram())
    fill(run, "two", datagram())
    page = write_page(run)

    before = after(page, "")
    assert before.count('data-shown="yes"') == 1
    assert not re.search(r'id="s1"[^>]*open', before)
    printed = after(page, "dispatchEvent(new Event('beforeprint'));")
    assert re.search(r'id="s1"[^>]*open', printed)
    assert not re.search(r'id="s2"[^>]*open', printed)


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
    assert len(shown(seen)) == 2000  # nothing failed, so nothing is in the way
    assert seen.count("(correct)") == 2
