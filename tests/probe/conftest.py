"""A probe running under Wine on this host."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.guest.probe import ProbeClient
from harness.waiting import Deadline
from tests.building import build

DRIVERS = Path(__file__).parents[2] / "drivers"


class Pipe:
    """The probe's standard input."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def send(self, data: bytes | str, *, end: bool = False) -> None:
        assert self.process.stdin
        self.process.stdin.write(data if isinstance(data, bytes) else data.encode())
        self.process.stdin.flush()
        if end:
            self.process.stdin.close()


@pytest.fixture(scope="session")
def probe_binary() -> Path:
    if not shutil.which("x86_64-w64-mingw32-gcc"):
        pytest.skip("no mingw-w64 here")
    build(DRIVERS, "build/wfpprobe.exe")
    return DRIVERS / "build" / "wfpprobe.exe"


@pytest.fixture(scope="session")
def probe(probe_binary: Path, wine: Any) -> Iterator[ProbeClient]:
    process = subprocess.Popen(
        [wine.program, probe_binary],
        env=wine.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    client = ProbeClient(Pipe(process))

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            client.feed("stdout", line.decode())
        client.lose("it ended")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        client.wait_until_ready(Deadline(90))
        yield client
    finally:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(60)
        if process.stdout:
            process.stdout.close()
