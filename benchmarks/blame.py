"""Faults of the host at random moments: how often is the driver blamed for one? `python -m benchmarks.blame 50 450`.

Whole runs: scenarios on the reference guest, each with a fault at a random moment of its first attempt, on the ground
of tests/faults. Small machines: a real QEMU under libvirt that runs a hundred bytes, with a real link; a fault is made,
and one of the errors that a scenario may notice of it is diagnosed as the bench does. A fifth of these have no fault:
there the driver is rightly blamed, and a diagnosis that calls everything LOST would be found.
"""

# ruff: noqa: SLF001 - faults are made where nobody else has a hand
from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.bench import load
from harness.config import Profile, load_profile
from harness.errors import DeadlineExpired, ExpectationFailed, GuestError, GuestHung, LinkError, TransportError
from harness.hypervisor import NicSpec, connect, open_machine
from harness.hypervisor.qemu_process import domain_of, find_process, is_stopped
from harness.link import StreamLink
from harness.ownership import temporary_folder
from harness.plugin.bench import GuestBench
from harness.report import Outcome, outcome_of
from harness.waiting import Deadline, wait_for
from tests.faults.ground import run_there
from tests.hypervisor.boot_sector import make_image
from tests.running import ROOT, WFP_HIL, results_of

_BOOT_SECONDS, _ATTEMPTS_SECONDS = 300, 200  # at most: the two attempts of a whole run take 40 s on a quiet host
_HEALTHY = 0.2  # how many of the small machines have no fault

# What a scenario may notice; the outcome is what it comes to on a machine that is whole, where the probe is silent.
NOTICED: list[tuple[Callable[[], BaseException], Outcome]] = [
    (lambda: AssertionError("assert 1 == 2"), Outcome.FAIL),
    (lambda: ExpectationFailed("wanted one frame, saw none"), Outcome.FAIL),
    (lambda: DeadlineExpired("Waited 10.0 s for an answer, in vain."), Outcome.HANG),
    (lambda: TransportError("The connection failed: Connection refused."), Outcome.HANG),
    (lambda: GuestError("'sc.exe query' did not end within 60.0 s."), Outcome.HANG),
    (lambda: GuestHung("The fence did not close within 20 s."), Outcome.HANG),
    (lambda: pytest.fail.Exception("Timeout (>120.0s) from pytest-timeout"), Outcome.HANG),
    (lambda: LinkError("QEMU took no frame from the link for 30.0 s."), Outcome.LOST),
]

FAULTS: dict[str, Callable[[Any, StreamLink], None]] = {
    "killed": lambda machine, _link: _signal(machine, signal.SIGKILL),
    "ended": lambda machine, link: _end(machine, link),  # noqa: PLW0108
    "stopped": lambda machine, _link: _signal(machine, signal.SIGSTOP),
    "destroyed": lambda machine, _link: _domain(machine, "destroy"),
    "suspended": lambda machine, _link: _domain(machine, "suspend"),
    "link cut": lambda _machine, link: _cut(link),
}


def small(runs: int, seed: int) -> list[str]:
    """Wrong blames on small machines, one line each; prints how often each outcome came."""
    dice = random.Random(seed)
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    with temporary_folder("blame", beside=Path("/var/tmp"), passable=True) as folder:
        profile = load_profile(_small_profile(folder))
        image = make_image(folder)
        for number in range(1, runs + 1):
            fault = None if dice.random() < _HEALTHY else dice.choice(sorted(FAULTS))
            make, healthy = dice.choice(NOTICED)
            with StreamLink.listen() as link:
                nics = [NicSpec(link_port=link.port)]
                with open_machine(profile, image, run_dir=folder / "run", nics=nics) as machine:
                    machine.start(Deadline(60))
                    link.accept(Deadline(20))
                    if fault is not None:
                        FAULTS[fault](machine, link)
                    found = _bench(machine, link, profile).diagnose(make())
            outcome = outcome_of(found)
            seen[f"{fault or 'no fault'}: {outcome}"] += 1
            if outcome is not (healthy if fault is None else Outcome.LOST):
                wrong.append(f"run {number}, {fault or 'no fault'}, {make()!r}: {outcome}, {found}")
                print(f"  {wrong[-1]}", flush=True)
    print(f"  small machines, {runs} runs: {len(wrong)} wrong; {dict(sorted(seen.items()))}; {load()}", flush=True)
    return wrong


def whole(runs: int, seed: int) -> list[str]:
    """Wrong blames in scenarios on the reference guest, one line each."""
    with temporary_folder("blame", beside=Path("/var/tmp"), passable=True) as folder:
        scenarios = folder / "test_blame.py"
        shutil.copyfile(ROOT / "tests" / "faults" / "at_random.py", scenarios)
        os.environ["WFP_HIL_BLAME"] = f"{runs} {seed}"
        out = folder / "out"
        words = ("run", "--machines", "1", "--out", out, scenarios)
        done, left = run_there(folder, WFP_HIL, *words, seconds=_BOOT_SECONDS + runs * _ATTEMPTS_SECONDS)
        records = results_of(out)
    wrong = [
        f"{record['scenario']}: {record['outcome']}, {record['message']}"
        for record in records
        if record["outcome"] not in ("PASS", "LOST") or (record["outcome"] == "LOST" and record["attempt"] > 1)
    ]
    counts = Counter(f"attempt {record['attempt']}: {record['outcome']}" for record in records)
    scenarios_run = len({record["scenario"] for record in records})
    if scenarios_run != runs or done.exit_code != 0 or left.get("clean") != ["clean: nothing was left behind"]:
        wrong.append(f"{scenarios_run} of {runs} ran, exit code {done.exit_code}, left: {left}")
    for line in wrong:
        print(f"  {line}", flush=True)
    print(f"  whole runs, {runs} scenarios: {len(wrong)} wrong; {dict(sorted(counts.items()))}; {load()}", flush=True)
    return wrong


def _bench(machine: Any, link: StreamLink, profile: Profile) -> GuestBench:
    """A bench on a machine whose guest has no probe: asked whether it lives, nobody answers."""

    def silent(_op: str) -> None:
        raise TransportError("The probe does not answer.")

    bench = object.__new__(GuestBench)
    bench.machine, bench.link, bench.far = machine, link, None
    bench._profile, bench._serial_mark = profile, 0
    bench._names = lambda frame: frame
    said: Any = SimpleNamespace(
        of_hang=lambda error: error,
        of_silence=lambda noticed, silence: GuestHung(f"{noticed} {silence}"),
        of_delay=lambda _error: None,
    )
    awake: Any = SimpleNamespace(hung=None)
    bench._hang, bench._watchdog = said, awake
    probe: Any = SimpleNamespace(start=silent)
    bench.probe = probe
    return bench


def _small_profile(folder: Path) -> Path:
    text = load_profile("reference").path.read_text()
    path = folder / "guest.toml"
    path.write_text(
        text.replace("memory_mib = 768", "memory_mib = 32").replace("ready_seconds = 400", "ready_seconds = 60")
    )
    return path


def _qemu(machine: Any) -> int:
    pid = find_process(machine.name)
    assert pid is not None
    return pid


def _signal(machine: Any, number: int) -> None:
    """And wait until the process has taken it: on a busy host it may go on for a moment, and there is no fault yet."""
    pid = _qemu(machine)
    os.kill(pid, number)
    wait_for(lambda: True if domain_of(pid) is None or is_stopped(pid) else None, Deadline(20), "QEMU to take a signal")


def _end(machine: Any, link: StreamLink) -> None:
    """QEMU ends in good order, which takes it some milliseconds: nobody notices anything before."""
    pid = _qemu(machine)
    os.kill(pid, signal.SIGTERM)
    gone = lambda: True if link.lost is not None or domain_of(pid) is None else None  # noqa: E731
    wait_for(gone, Deadline(20), "QEMU to end")


def _cut(link: StreamLink) -> None:
    """And wait until the thread that reads the link has been woken: no scenario fails of a cut before that."""
    assert link._connection is not None
    link._connection.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: link.lost, Deadline(20), "the link to be lost")


def _domain(machine: Any, call: str) -> None:
    connection = connect()
    try:
        getattr(connection.lookupByName(machine.name), call)()
    finally:
        connection.close()


def main(on_guests: int = 50, on_small: int = 450, seed: int = 1) -> None:
    """Both, and the sum; SystemExit where one was wrong."""
    wrong = (small(on_small, seed) if on_small else []) + (whole(on_guests, seed) if on_guests else [])
    print(f"  {on_guests + on_small} runs with injected faults, seed {seed}: {len(wrong)} wrong blames", flush=True)
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
