"""The reference guest's end of the second channel: bounds, files, services that do not stop, stacks of threads."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DeadlineExpired, TransportError
from harness.guest.second_channel import Refused, SecondChannel
from harness.waiting import Deadline, wait_for

HERE = Path(__file__).parent
AGENT = HERE.parents[1] / "vm-images" / "reference" / "channel"
FOREVER = "#!/bin/sh\nexec sleep 60\n"


@pytest.fixture(scope="module", autouse=True)
def agent_on_path() -> Iterator[None]:
    sys.path.insert(0, str(AGENT))
    yield
    sys.path.remove(str(AGENT))


class Served:
    """The agent behind a UNIX socket, as QEMU would have it; `reach` gives the guest's side of the connection."""

    def __init__(self, folder: Path, requests: Any) -> None:
        from wfp_channel.line import serve

        self.path = folder / "com2"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.path))
        self.listener.listen(1)
        self.peer: socket.socket | None = None

        def run() -> None:
            self.peer, _ = self.listener.accept()
            with suppress(ConnectionError):  # unlike a serial port: the harness went away before it had read all
                serve(self.peer.fileno(), requests)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[SecondChannel, Path]]:
    from wfp_channel.requests import Requests

    (tmp_path / "prefix" / "drive_c" / "wfp-hil").mkdir(parents=True)
    slow = tmp_path / "slow-wine"
    slow.write_text(FOREVER)
    slow.chmod(0o755)
    run = Served(tmp_path, Requests(prefix=str(tmp_path / "prefix"), wine=str(slow), folder=str(tmp_path)))
    channel = SecondChannel(lambda: run.path)
    yield channel, tmp_path
    channel.close()
    run.thread.join(30)
    run.listener.close()
    assert run.peer is not None
    run.peer.close()


def test_it_says_who_it_is(served):
    channel, _ = served

    hello = channel.hello(Deadline(30))

    assert hello.kind == "reference"
    assert hello.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert hello.uptime > 0


def test_a_file_comes_in_pieces_by_its_windows_path_and_is_held_against_its_hash(served):
    channel, folder = served
    content = bytes(range(256)) * 300  # three pieces and a bit
    (folder / "prefix" / "drive_c" / "wfp-hil" / "x.dmp").write_bytes(content)

    assert channel.fetch(r"C:\wfp-hil\x.dmp", Deadline(30)) == content
    assert [(file.name, file.size) for file in channel.list(r"C:\wfp-hil", Deadline(30))] == [("x.dmp", len(content))]
    assert channel.answers > 4


def test_a_file_longer_than_allowed_is_not_fetched(served):
    channel, folder = served
    (folder / "big").write_bytes(b"x" * 5000)

    with pytest.raises(TransportError, match="has 5000 bytes, at most 100 are fetched"):
        channel.fetch(str(folder / "big"), Deadline(30), at_most=100)


@pytest.mark.parametrize("path", [r"..\x", "relative", ""])
def test_a_path_that_is_not_absolute_is_refused(served, path):
    channel, _ = served

    with pytest.raises(Refused, match="no absolute path"):
        channel.fetch(path, Deadline(30))


def test_a_service_that_does_not_stop_is_told_within_its_time_and_the_agent_goes_on(served):
    channel, _ = served

    with pytest.raises(Refused, match=r"did not end within 0\.5 s"):
        channel.request("stop", Deadline(30), service="wfpcallout", seconds=0.5)

    assert channel.hello(Deadline(30)).kind == "reference"


@pytest.mark.parametrize("name", ["a b", "a;reboot", "", "x" * 65, "$(reboot)"])
def test_a_service_whose_name_is_none_is_refused(served, name):
    channel, _ = served

    with pytest.raises(Refused, match="is no name of a service"):
        channel.stop_service(name, Deadline(30))


def test_what_is_unknown_or_garbled_is_refused_and_the_line_goes_on(served):
    channel, _ = served

    with pytest.raises(Refused, match="UnknownOperation"):
        channel.request("format", Deadline(30))
    with pytest.raises(Refused, match="BadRequest"):
        channel.request("read", Deadline(30))  # no path

    assert channel.hello(Deadline(30)).kind == "reference"


@pytest.mark.wine
def test_stacks_show_a_loop_and_a_wait_with_their_callers(wine, tmp_path, monkeypatch):
    from wfp_channel import stacks

    monkeypatch.setattr(stacks, "_STOP_SECONDS", 30.0)  # a thread stops when it has its turn on a processor

    compiler = shutil.which("x86_64-w64-mingw32-gcc")
    if compiler is None:
        pytest.skip("no mingw-w64 here")
    program = tmp_path / "threads.exe"
    subprocess.run([compiler, "-O2", HERE / "threads.c", "-o", program], check=True, timeout=100)
    with subprocess.Popen([wine.program, program], env=wine.environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            base, *places = (int(word, 16) for word in process.stdout.readline().split())
            spin_inner, spin_outer, wait_inner, wait_outer = (place - base for place in places)
            ordered = sorted((spin_inner, spin_outer, wait_inner, wait_outer, 1 << 30))

            def functions(thread: dict[str, Any]) -> list[int]:
                """The functions of the program on a stack, by their beginnings."""
                offsets = [frame["offset"] for frame in thread["frames"] if frame["module"] == "threads.exe"]
                return [max((begin for begin in ordered if begin <= offset), default=-1) for offset in offsets]

            def taken_at_rest() -> dict[str, Any] | None:
                """All threads but the one that turns wait in the system's own library: they were on their way there."""
                taken = stacks.take(process.pid)
                turning = [thread for thread in taken["threads"] if not thread.get("native", "").startswith("libc")]
                return taken if [functions(thread) for thread in turning] == [[spin_inner, spin_outer]] else None

            first = wait_for(taken_at_rest, Deadline(30), "two of three threads to stand still")
            second = stacks.take(process.pid)
        finally:
            process.kill()

    seen = [functions(thread) for thread in second["threads"]]
    assert [spin_inner, spin_outer] in seen
    assert [wait_inner, wait_outer] in seen
    waiting = second["threads"][seen.index([wait_inner, wait_outer])]
    assert waiting["native"].startswith("libc"), waiting
    before = {thread["tid"]: thread for thread in first["threads"]}[waiting["tid"]]
    assert [frame["sp"] for frame in before["frames"]] == [frame["sp"] for frame in waiting["frames"]]
    ends = {thread["frames"][-1]["module"] for thread in second["threads"]}
    assert ends == {"ntdll.dll"}, "each stack is followed to its beginning"


def test_nobody_answers_within_the_deadline(tmp_path):
    path = tmp_path / "com2"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)

    with pytest.raises(DeadlineExpired, match="the guest's second channel to answer 'hello'"):
        SecondChannel(lambda: path).hello(Deadline(0.2))
    listener.close()


def test_what_is_read_from_windows_paths_stays_in_their_drive(served):
    channel, folder = served
    (folder / "prefix" / "drive_c" / "a").write_bytes(b"abc")

    assert channel.request("hash", Deadline(30), path="C:/a")["sha256"] == hashlib.sha256(b"abc").hexdigest()
