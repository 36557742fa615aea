"""The harness is killed at random moments: `wfp-hil clean` must leave nothing behind: `python -m benchmarks.chaos`.

Each kill hits a run of two scenarios, or now and then the build of an image, in a folder for temporary files of its
own, so that what is left in there is known to be its. What it had is noted from outside right before the kill, and
looked for afterwards: processes, domains, folders, sockets and ports, network devices and namespaces, locks, files.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench import load
from harness import process
from harness.config.directories import cache_root, state_root
from harness.hypervisor import connect
from harness.hypervisor.qemu_process import find_processes
from harness.images import ensure
from harness.ownership import OWNER_VARIABLE, Owner
from harness.waiting import Deadline, wait_for
from tests.running import ROOT, WFP_HIL

SCENARIOS = ("scenarios/redirect", "-k", "never_reaches_the_wire or match_no_rule")
_TOKEN = "WFP_HIL_CHAOS"
_SECONDS = 600.0
_BUILD_EVERY = 10
_LISTENING = {"tcp": "0A", "tcp6": "0A"}


@dataclass(slots=True)
class Belongings:
    """What a run had, seen from outside while it lived."""

    machines: set[str] = field(default_factory=set)
    owners: set[str] = field(default_factory=set)  # marks of its processes
    sockets: set[str] = field(default_factory=set)  # inodes


class Victim:
    """One command that will be killed, in an environment by which all of it is known."""

    def __init__(self, folder: Path, words: list[str | Path], **variables: str) -> None:
        self.token = f"{os.getpid()}-{time.monotonic_ns()}"
        self.folder, self.words = folder, words
        self.temporary = folder / "tmp"
        self.temporary.mkdir(mode=0o1777)
        self.environment = {**os.environ, _TOKEN: self.token, "TMPDIR": str(self.temporary), **variables}
        self.had = Belongings()
        self.networks = _networks()
        self.exit_code: int | None = None
        self.took = 0.0

    def run_for(self, seconds: float) -> None:
        """Start it, and kill it after so long; one that ended by itself before keeps its exit code."""
        log, began = (self.folder / "terminal.txt").open("wb"), time.monotonic()
        with (
            log,
            process.start(
                self.words, cwd=ROOT, env=self.environment, stdout=log.fileno(), stderr=log.fileno()
            ) as running,
        ):
            with suppress(subprocess.TimeoutExpired):
                self.exit_code = running.wait(seconds)
            self.took = time.monotonic() - began
            self._note()
            if self.exit_code is None:
                os.kill(running.pid, signal.SIGKILL)  # it alone: what it started is left to itself
                running.wait()

    def clean(self) -> str:
        """What `wfp-hil clean` says right afterwards."""
        done = process.run([WFP_HIL, "clean"], cwd=ROOT, env=self.environment, deadline=Deadline(120), check=False)
        said = done.stdout + done.stderr
        return said if done.exit_code == 0 else f"clean ended with {done.exit_code}: {said}"

    def left(self) -> list[str]:
        """What is still there; empty as it should be."""
        found = [f"process {pid} {_words(pid)}" for pid in self._processes()]
        found += [f"QEMU {pid} of {name}" for pid, name in find_processes() if name in self.had.machines]
        connection = connect()
        try:
            domains = {domain.name() for domain in connection.listAllDomains()}
        finally:
            connection.close()
        found += [f"domain {name}" for name in sorted(domains & self.had.machines)]
        found += [f"folder {path}" for path in state_root().glob("*") if self._is_mine(path)]
        for place in (Path("/run/libvirt/qemu"), Path("/var/lib/libvirt/qemu")):
            # libvirt cuts names short there.
            short = {name[:20] for name in self.had.machines}
            found += [f"file {path}" for path in place.glob("*") if any(name in path.name for name in short)]
        found += [f"socket {inode}" for inode in sorted(self.had.sockets & _open_sockets())]
        found += [f"network {name}" for name in sorted(_networks() - self.networks)]
        found += [f"half-made image {path}" for path in (self.folder / "cache").glob("*/.building-*")]
        found += [f"temporary {path}" for path in sorted(self.temporary.rglob("*"))]
        found += [f"lock {path}" for path in _locks() if not _is_free(path)]
        return found

    def _note(self) -> None:
        """Again and again would be better; what matters is there for as long as a machine is."""
        for pid in self._processes():
            started = _started(pid)
            if started is not None:
                self.had.owners.add(f"{pid}.{started}")
            self.had.sockets |= _sockets_of(pid)
        for path in state_root().glob("*"):
            if self._is_mine(path):
                self.had.machines.add(path.name[path.name.index("wfp-hil-") :])
        for pid, name in find_processes():
            if name in self.had.machines:
                self.had.sockets |= _sockets_of(pid)

    def _is_mine(self, path: Path) -> bool:
        with suppress(OSError):
            return str(self.folder) in (path / "owner.json").read_text() or path.name in self.had.machines
        return any(owner in path.name for owner in self.had.owners)

    def _processes(self) -> list[int]:
        """All that carry its token, or the mark of one that did: QEMU has it from libvirt."""
        wanted = f"{_TOKEN}={self.token}".encode()
        marks = [f"{OWNER_VARIABLE}={owner}.".encode() for owner in self.had.owners]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    variables = (entry / "environ").read_bytes().split(b"\0")
                    if wanted in variables or any(word.startswith(tuple(marks)) for word in variables if marks):
                        found.append(int(entry.name))
        return found


def chaos(kills: int, seed: int, *, builds: bool = True, check_every: int = 10, first: float = 0.0) -> list[str]:
    """Kill so many runs; gives back what was left or did not work, a line each.

    `first` is about how many seconds a run takes, where it need not be tried first.
    """
    dice = random.Random(seed)
    image = ensure("reference")
    before = digest(image.path)
    whole = _Whole(first, []) if first else _whole_run(f"seed {seed}")
    typical, trouble = whole.seconds, list(whole.trouble)
    reached: Counter[str] = Counter()
    for number in range(1, kills + 1):
        is_build = builds and number % _BUILD_EVERY == 0
        seconds = dice.uniform(0, typical)
        with _victim(is_build=is_build, machines=dice.choice("12")) as victim:
            victim.run_for(seconds)
            said = victim.clean()
            left = victim.left()
            how = "killed" if victim.exit_code is None else f"ended with {victim.exit_code}"
            reached[f"{'build' if is_build else 'run'} {how}"] += 1
            if victim.exit_code == 0 and not is_build:
                typical = min(typical, victim.took)
            if victim.exit_code not in (None, 0):
                left.append(f"it ended by itself: {(victim.folder / 'terminal.txt').read_text()[-1500:]}")
            if said.startswith("clean ended"):
                left.append(said)
        if digest(image.path) != before:
            left.append("the cached image was changed")
        for line in left:
            trouble.append(f"kill {number} after {seconds:.2f} s ({how}): {line}")
            print(f"  {trouble[-1]}", flush=True)
        if number % check_every == 0 or number == kills:
            trouble += _whole_run(f"after {number} kills: {dict(reached)}").trouble
    return trouble


@dataclass(frozen=True, slots=True)
class _Whole:
    seconds: float
    trouble: list[str]


def _whole_run(title: str) -> _Whole:
    """A run that nobody kills: it has to pass."""
    with _victim(is_build=False, machines="1") as victim:
        victim.run_for(_SECONDS)
        took = victim.took
        trouble = victim.left()
        if victim.exit_code != 0:
            said = (victim.folder / "terminal.txt").read_text()[-1500:]
            trouble.append(f"a whole run ended with {victim.exit_code}: {said}")
    print(f"  {title}: a whole run took {took:.1f} s, ended with {victim.exit_code}; {load()}", flush=True)
    return _Whole(took, [f"{title}: {line}" for line in trouble])


@contextmanager
def _victim(*, is_build: bool, machines: str) -> Iterator[Victim]:
    with tempfile.TemporaryDirectory(prefix="chaos-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        if not is_build:
            out = folder / "out"
            yield Victim(folder, [WFP_HIL, "run", "--machines", machines, "--out", out, *SCENARIOS])
            return
        cache = folder / "cache"
        cache.mkdir(mode=0o755)
        (cache / "bases").symlink_to(cache_root() / "bases")  # without it Debian would be unpacked anew
        yield Victim(folder, [WFP_HIL, "image", "build", "reference"], WFP_HIL_CACHE=str(cache))


def digest(image: Path) -> str:
    """SHA-256 over all files of an image."""
    found = hashlib.sha256()
    for path in sorted(path for path in image.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(image)} ".encode())
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _started(pid: int) -> int | None:
    with suppress(OSError, ValueError):
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(stat[stat.rindex(")") + 2 :].split()[19])
    return None


def _words(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    return ""


def _sockets_of(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _open_sockets() -> set[str]:
    """Inodes of the sockets that listen, or have a name."""
    found = set()
    for kind, state in _LISTENING.items():
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == state:
                found.add(words[9])
    found |= {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    return found


def _networks() -> set[str]:
    """Network devices and namespaces with a name of ours."""
    named = Path("/run/netns").glob("*")
    return {path.name for path in (*Path("/sys/class/net").iterdir(), *named) if path.name.startswith(("wfp", "whl"))}


def _locks() -> list[Path]:
    return [*(cache_root() / "images").glob(".*.lock"), *(ROOT / "drivers" / "build").glob(".lock")]


def _is_free(path: Path) -> bool:
    """Others may hold it for as long as a build takes."""

    def free() -> bool | None:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            return True

    return wait_for(free, Deadline(120), f"'{path}' to be free", interval=0.5)


def main(kills: int = 100, seed: int = 1) -> None:
    """So many kills, and how many of them left something; SystemExit where one did."""
    assert Owner.this_process().is_alive()
    trouble = chaos(kills, seed)
    print(f"  {kills} kills, seed {seed}: {len(trouble)} things were left or did not work; {load()}", flush=True)
    if trouble:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
