"""What a cell's run does, in a word of a test: pass, fail, lost, usage, nothing, kill, wait (to be interrupted)."""

import json
import os
import signal
import sys
from pathlib import Path

from harness.waiting import Deadline, wait_for

word, out = sys.argv[1], Path(sys.argv[sys.argv.index("--out") + 1])
results = (out / "results.jsonl").open("w")


def record(**fields: object) -> None:
    results.write(json.dumps(fields) + "\n")
    results.flush()


record(record="session", guest="reference", driver="a.sys")
record(record="start", scenario="scenarios/a.py::test_it", attempt=1)
if word == "nothing":
    sys.exit(0)
if word == "usage":
    sys.exit("error: There is no such thing.\nhint: Take another.")
if word == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "wait":
    try:
        (out / "waits").touch()
        # signal.pause() would sleep on where the interrupt comes just before it
        wait_for(lambda: None, Deadline(100), "an interrupt")
    except KeyboardInterrupt:
        (out / "cleared-up").touch()
        sys.exit(130)
outcome = {"pass": "PASS", "fail": "FAIL", "lost": "LOST", "crash": "CRASH"}[word]
message = {"PASS": "", "FAIL": "wanted 1, saw 2"}.get(
    outcome, "The guest crashed: bugcheck 0xd1 (0x1, 0x2, 0x1, 0x9) DRIVER_IRQL_NOT_LESS_OR_EQUAL in a.sys+0x10."
)
record(record="result", scenario="scenarios/a.py::test_it", outcome=outcome, attempt=1, guest="reference",
       title="It is.", message=message, seconds={"call": 1.0}, started="2026-11-22T01:00:00+00:00")  # fmt: skip
code = {"PASS": 0, "LOST": 3}.get(outcome, 1)
record(record="end", exit_code=code, counts={outcome: 1})
sys.exit(code)
