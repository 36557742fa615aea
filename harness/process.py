"""The only place that starts programs on the host.

Standard input is empty unless given, every program is its own session so that it can be ended with its
children, and a failing command is shown in a form that can be pasted into a shell. Each carries the mark of this
process, by which `wfp-hil clean` knows it when this process is killed and it goes on.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeadlineExpired, HostError
from harness.ownership import OWNER_VARIABLE, Owner
from harness.waiting import Deadline

# A harness that started this one may have marked it; what libraries start here, such as libvirt's daemon, is not its.
os.environ.pop(OWNER_VARIABLE, None)

Running = subprocess.Popen[bytes]
"""A program that was started and may still run."""

_RUN_SECONDS = 600.0
_KILLED_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that ended by itself: what it was, how it ended, what it printed, how long it took in seconds."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    duration: float


def exit_code_within(running: Running, seconds: float) -> int | None:
    """What the program ended with, negative for a signal; None when it has not ended after so many seconds."""
    try:
        return running.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def free_memory_mib() -> int:
    """Memory of this host that programs can have without others being swapped out."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) >> 10


def find_tool(name: str) -> Path | None:
    """Path of a program on PATH (or in the sbin folders that an ordinary user's PATH lacks), or None."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    return Path(found) if found else None


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    deadline: Deadline | None = None,
    input: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    lasting: bool = False,
) -> Completed:
    """Run a program to its end; `lasting` where it leaves a daemon behind that is nobody's.

    Ten minutes is all it has where no deadline is given.

    Raises HostError when it is not installed or, with `check`, ends with a code other than 0; DeadlineExpired
    when the deadline is over, after the program and its children were ended.
    """
    words = tuple(os.fspath(word) for word in argv)
    started = time.monotonic()
    deadline = deadline or Deadline(_RUN_SECONDS)
    with start(
        words, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL, cwd=cwd, env=env, lasting=lasting
    ) as process:
        try:
            out, err = process.communicate(input, timeout=deadline.remaining())
        except subprocess.TimeoutExpired as expired:
            raise DeadlineExpired(
                f"'{shlex.join(words)}' did not end within {expired.timeout:.1f} s and was stopped."
            ) from expired
    done = Completed(
        argv=words,
        exit_code=process.returncode,
        stdout=out.decode(errors="replace"),
        stderr=err.decode(errors="replace"),
        duration=time.monotonic() - started,
    )
    if check and done.exit_code != 0:
        tail = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise HostError(f"'{shlex.join(words)}' ended with exit code {done.exit_code}: {tail or 'it printed nothing'}")
    return done


@contextmanager
def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    lasting: bool = False,
) -> Iterator[Running]:
    """Start a program; leaving the block ends it and all its children."""
    words = [os.fspath(word) for word in argv]
    variables = dict(os.environ if env is None else env)
    variables.pop(OWNER_VARIABLE, None)  # of a harness that started this one
    if not lasting:
        variables[OWNER_VARIABLE] = Owner.this_process().mark
    try:
        process = subprocess.Popen(
            words, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=variables, start_new_session=True
        )
    except FileNotFoundError as missing:
        raise HostError(
            f"The program '{words[0]}' is not installed.", hint="'make setup' installs all that is needed."
        ) from missing
    try:
        yield process
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # in the kernel's hands: it ends when they let go
                process.wait(timeout=_KILLED_SECONDS)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
