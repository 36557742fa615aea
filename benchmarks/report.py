"""The page of a night with 2,000 results: how long it takes to make and to open, how large it is."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
from pathlib import Path

from benchmarks.bench import load, timed
from harness import process
from harness.link import Direction
from harness.nightly.results import parts_of, write_reports
from harness.nightly.state import CellState, NightState
from harness.ownership import temporary_folder
from harness.report.page import Memory, render_parts
from harness.traffic.assemble import ip_frame, tcp_body
from harness.waiting import Deadline
from harness.witness.pcapng import PcapngWriter

RESULTS = 2000
_AXES = ("guest", "nic", "driver", "verifier", "firewall", "scenarios")
_WINDOWS = itertools.product(
    ("windows-11", "windows-server-2025"), ("e1000e", "igb"), ("free", "checked"), ("", "standard"), ("",), ("all",)
)
_CELLS = tuple(
    dict(zip(_AXES, values, strict=True))
    for values in (*_WINDOWS, ("reference", "e1000e", "free", "standard", "", "all"))
)
_MODULES = (
    "callout/test_arbitration", "callout/test_icmp", "callout/test_registration", "flow_context/test_flow_context",
    "injection/test_frames", "injection/test_inject", "injection/test_reinject", "pending/test_pended_connects",
    "redirect/test_bind", "redirect/test_datagrams", "redirect/test_matrix", "redirect/test_redirect",
    "stream/test_edits", "stream/test_streams", "wire/test_connections",
)  # fmt: skip
_CRASH = (
    "The guest crashed: bugcheck 0xd1 (0x{:x}, 0x2, 0x1, 0x{:x}) DRIVER_IRQL_NOT_LESS_OR_EQUAL in "
    "wfpcallout.sys+0x465e redirect_classify at redirect.c:212.\n"
    "  wfpcallout.sys+0x465e redirect_classify at redirect.c:212"
)
_FAIL = (
    "expect(witness).none: wanted no frame with dst='198.51.100.5', saw 1: frame 4 from-guest tcp 192.0.2.2:49731 > "
    "198.51.100.5:80 [A]. Nearest miss: event 5 classify ALE_CONNECT_REDIRECT_V4 permit. Timeline: timeline.txt"
)
_OPEN_SECONDS = 60.0


def main() -> None:
    """Make such a night in a temporary folder, its page, and open that in Chromium."""
    with temporary_folder("bench", passable=True) as folder:
        before, night = make_night(folder / "1", seed=1), make_night(folder / "2", seed=2)
        parts = parts_of(folder / "2", night)
        took = timed(
            lambda: render_parts(
                parts, title="night", before=parts_of(folder / "1", before), before_title="1", links_from=folder / "2",
                memory=Memory(),
            )
        )  # fmt: skip
        write_made(folder / "2", night, before=folder / "1")
        page = folder / "2" / "index.html"
        results = sum(len(part.attempts()) for part in parts)
        size = page.stat().st_size / 2**20
        print(f"  {results} results: made in {took:.1f} s (wanted: 5 s), {size:.1f} MiB (wanted: 20 MB); {load()}")
        if shutil.which("chromium") is None:
            print("  Chromium is not installed: how long it takes to open was not measured")
            return
        for attempt in range(3):
            milliseconds, nodes = open_page(page, folder / f"profile-{attempt}")
            print(f"  opened in {milliseconds / 1000:.2f} s (wanted: 2 s), {nodes} elements; {load()}", flush=True)


def open_page(page: Path, profile: Path) -> tuple[float, int]:
    """Milliseconds from the navigation's begin until the page is loaded and laid out, and how many elements it has."""
    # The page may run its own script alone, so a frame around it cannot ask; a copy with one more script can.
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    probe = (
        "<script>addEventListener('load', () => { document.body.getBoundingClientRect();"
        "const took = performance.now();"
        "document.body.dataset.took = took + ' ' + document.querySelectorAll('*').length; });</script>"
    )
    copy = page.with_name("measured.html")
    copy.write_text(text.replace("</body>", probe + "</body>"), encoding="utf-8")
    argv = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    done = process.run([*argv, copy.as_uri()], deadline=Deadline(_OPEN_SECONDS))
    took, nodes = re.search(r'data-took="([0-9.]+) ([0-9]+)"', done.stdout).groups()
    return float(took), int(nodes)


def write_made(folder: Path, night: NightState, *, before: Path | None) -> None:
    """The reports of a made night, without any history."""
    from harness.history import KnownIssues

    write_reports(folder, night, before=before, history=None, known=KnownIssues(), seconds=3120.0)


def make_night(folder: Path, *, seed: int, results: int = RESULTS) -> NightState:
    """A night as a vendor has them: most passed, some failed, a few crashed; with evidence in every folder."""
    chance = random.Random(seed)
    folder.mkdir()
    cells = []
    each = -(-results // (len(_CELLS) - 1))
    for axes in _CELLS:
        cell_id = "+".join(value for value in axes.values() if value)
        refused = axes["guest"] == "reference"
        cell = CellState(id=cell_id, axes=axes, folder=f"cells/{cell_id}", scenarios=each)
        cell.stage, cell.exit_code, cell.seconds = "finished", 1, 400.0
        if refused:
            cell.stage, cell.folder = "refused", ""
            cell.reason = "The reference guest has no Driver Verifier, which is a part of Windows."
        else:
            _make_cell(folder / cell.folder, axes, each, chance)
        cells.append(cell)
    night = NightState(matrix="made.toml", title="release", started="2026-11-21T23:00:00", ended="x", cells=cells)
    (folder / "nightly.json").write_text(night.model_dump_json())
    return night


def _make_cell(folder: Path, axes: dict[str, str], count: int, chance: random.Random) -> None:
    folder.mkdir(parents=True)
    session = {name: axes[name] for name in ("guest", "nic", "verifier") if axes[name]}
    records: list[dict[str, object]] = [{"record": "session", **session, "driver": "wfpcallout.sys"}]
    for number in range(count):
        module = _MODULES[number % len(_MODULES)]
        name = f"test_case_{number // len(_MODULES)}[ipv{4 + 2 * (number % 2)}]"
        outcome = chance.choices(("PASS", "FAIL", "CRASH", "HANG", "LOST", "SKIP"), (960, 18, 3, 2, 4, 13))[0]
        scenario = f"scenarios/{module}.py::{name}"
        message = {
            "FAIL": _FAIL, "CRASH": _CRASH.format(chance.randrange(1 << 40), chance.randrange(1 << 40)),
            "HANG": "The thread 0x1c does not come back from wfpcallout.sys+0x1204 drain at drain.c:88.",
            "LOST": "The machine 'x' is gone: QEMU ended unexpectedly.",
            "SKIP": "the guest has one test NIC, and forwarding needs two",
        }.get(outcome, "")  # fmt: skip
        record = {
            "record": "result", "scenario": scenario, "outcome": outcome, "attempt": 1, "guest": axes["guest"],
            "title": f"A connect that the callout redirects reaches the proxy; its SYN stays inside. [{number}]",
            "rules": ["W120", "W121"], "message": message, "details": message and message * 4, "folder": f"f{number}",
            "started": "2026-11-21T23:10:00.000+00:00",
            "seconds": {"setup": 0.4, "call": chance.uniform(0.3, 2.5), "teardown": 0.2},
            "known": "TICKET-77: the adapter's offload" if outcome == "FAIL" and number % 5 == 0 else "",
        }  # fmt: skip
        records.append(record)
        if outcome == "LOST":
            records.append({**record, "outcome": "PASS", "attempt": 2, "message": "", "details": ""})
        lane = "event" if outcome in ("CRASH", "HANG") else "frame" if outcome == "FAIL" else "step"
        ended = (lane, f"{outcome}: {message.splitlines()[0]}") if outcome not in ("PASS", "SKIP") else None
        _make_evidence(folder / "scenarios" / f"f{number}", chance, ended)
    records.append({"record": "end", "exit_code": 1, "counts": {}})
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def _make_evidence(folder: Path, chance: random.Random, ended: tuple[str, str] | None) -> None:
    """A conversation of some thirty frames with its events, calls and steps, no two folders alike."""
    folder.mkdir(parents=True)
    lines: list[tuple[float, str, str]] = []
    events, calls = [], []
    port = chance.randrange(1024, 65536)
    clock = 0.01
    with PcapngWriter(folder / "frames.pcapng", interface="link") as capture:
        for number in range(1, chance.randrange(22, 40)):
            clock += chance.expovariate(40)
            down = number % 2 == 0
            frame = _frame(port, number, chance.randbytes(chance.choice((0, 0, 4, 200))), down=down)
            capture.write(
                frame, nanoseconds=int(clock * 1e9), direction=Direction.TO_GUEST if down else Direction.FROM_GUEST,
                comment="fence",
            )  # fmt: skip
            way = "to-guest" if down else "from-guest"
            lines.append((clock, "frame", f"frame {number} {way} tcp 192.0.2.2:{port} > 198.51.100.5:80 [A]"))
            if number % 2:
                seq = number // 2 + 2
                text = f"classify STREAM_V4 continue tcp 192.0.2.2:{port} -> 198.51.100.5:80 rule=2 flow_id={number}"
                lines.append((clock + 0.001, "event", f"event {seq} {text}"))
                events.append({"seq": seq, "kind": "classify", "layer": "STREAM_V4", "action": "continue",
                               "local": f"192.0.2.2:{port}", "remote": "198.51.100.5:80", "rule": 2, "irql": 2,
                               "flow_id": 4000 + number, "time": clock, "status_name": "STATUS_SUCCESS"})  # fmt: skip
            if number % 6 == 1:
                call = number // 6 + 1
                lines.append((clock - 0.002, "socket", f"socket {call} send 192.0.2.2:{port}, 4 bytes: done (3.1 ms)"))
                calls.append({"number": call, "op": "send", "asked": {"socket": 3, "hex": "61626364"}, "seconds": 0.02,
                              "reply": {"ok": True, "sent": 4}, "result": "done"})  # fmt: skip
    lines += [(0.0, "step", "start fence"), (clock, "step", "stop fence")]
    if ended is not None:
        lines += [(clock + 0.01, *ended), (clock / 2, "replay", "Packet 12: The guest's datagram did not come.")]
    rows = (f"{at:9.4f} s  {lane:<6}  {text}\n" for at, lane, text in sorted(lines))
    (folder / "timeline.txt").write_text("".join(rows))
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "sockets.jsonl").write_text("".join(json.dumps(call) + "\n" for call in calls))
    (folder / "serial.log").write_text("wfp-hil: ready\n")


def _frame(port: int, number: int, payload: bytes, *, down: bool) -> bytes:
    guest, peer = (bytes.fromhex("c0000202"), bytes.fromhex("c6336405"))
    source, destination, ports = (peer, guest, (80, port)) if down else (guest, peer, (port, 80))
    body = tcp_body(source, destination, ports, 1000 + number, 1, 0x10, 64240, payload)
    return ip_frame(b"\x52\x54\0\0\0\x01", b"\x52\x54\0\0\0\x02", source, destination, 6, body)


if __name__ == "__main__":
    main()
