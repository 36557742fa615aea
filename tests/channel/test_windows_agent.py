"""wfpchannel.exe, the second channel's end in a Windows guest, under Wine: a pseudo-terminal is its serial port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.errors import TransportError
from harness.guest.second_channel import Refused, SecondChannel
from harness.waiting import Deadline
from tests.building import build

DRIVERS = Path(__file__).parents[2] / "drivers"

pytestmark = pytest.mark.wine


@pytest.fixture(scope="module")
def served(wine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SecondChannel, Path]]:
    """A channel to the program, by way of a UNIX socket as QEMU has it; and drive C: of its Wine."""
    if not shutil.which("x86_64-w64-mingw32-gcc"):
        pytest.skip("no mingw-w64 here")
    build(DRIVERS, "build/wfpchannel.exe")
    folder = tmp_path_factory.mktemp("com")
    prefix = Path(wine.environment["WINEPREFIX"])
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    (prefix / "dosdevices").mkdir(exist_ok=True)  # Wine makes the drives only where it makes the folder
    for drive, target in (("c:", "../drive_c"), ("z:", "/")):
        with suppress(FileExistsError):
            (prefix / "dosdevices" / drive).symlink_to(target)
    link = prefix / "dosdevices" / "com2"
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(theirs))
    drive_c = prefix / "drive_c"
    (drive_c / "wfp-hil").mkdir(exist_ok=True)
    (drive_c / "wfp-hil" / "boot-id").write_text("3f2b-77\r\n")
    path = folder / "com2"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    peers: list[socket.socket] = []

    def to_guest() -> None:
        peer, _ = listener.accept()
        peers.append(peer)
        threading.Thread(target=from_guest, args=(peer,), daemon=True).start()
        with suppress(OSError):
            while data := peer.recv(4096):
                os.write(ours, data)

    def from_guest(peer: socket.socket) -> None:
        with suppress(OSError):  # nobody has the other end open any more
            while data := os.read(ours, 4096):
                peer.sendall(data)

    threading.Thread(target=to_guest, daemon=True).start()
    process = subprocess.Popen(
        [wine.program, DRIVERS / "build" / "wfpchannel.exe", "COM2"], env=wine.environment, stderr=subprocess.DEVNULL
    )
    channel = SecondChannel(lambda: path)
    yield channel, drive_c
    channel.close()
    process.kill()
    process.wait(30)
    for opened in (*peers, listener):
        opened.close()
    os.close(theirs)


def test_it_says_who_it_is(served):
    channel, _ = served

    hello = channel.hello(Deadline(60))

    assert (hello.kind, hello.boot_id, hello.management) == ("windows", "3f2b-77", False)
    assert hello.uptime > 0


def test_a_file_comes_in_pieces_and_is_held_against_its_hash(served):
    channel, drive = served
    content = bytes(range(256)) * 300 + b"x"
    (drive / "wfp-hil" / "MEMORY.DMP").write_bytes(content)

    assert channel.fetch(r"C:\wfp-hil\MEMORY.DMP", Deadline(60)) == content
    assert {"boot-id": 9, "MEMORY.DMP": len(content)} == {
        file.name: file.size for file in channel.list("C:\\wfp-hil\\", Deadline(60)) if not file.is_folder
    }


@pytest.mark.parametrize("size", [0, 1, 2, 3, 24 << 10])
def test_any_length_comes_whole(served, size):
    channel, drive = served
    (drive / "wfp-hil" / "some").write_bytes(b"\xff" * size)

    assert channel.fetch(r"C:\wfp-hil\some", Deadline(60)) == b"\xff" * size
    (drive / "wfp-hil" / "some").unlink()


@pytest.mark.parametrize("path", ["relative", "", r"\\server\share", "C:", "\x01"])
def test_what_is_no_path_from_a_drives_root_is_refused(served, path):
    channel, _ = served

    with pytest.raises(Refused, match="no absolute path"):
        channel.fetch(path, Deadline(60))


@pytest.mark.parametrize("name", ["", "a b", 'a" & x', "x" * 65])
def test_what_is_no_name_of_a_service_is_refused(served, name):
    channel, _ = served

    with pytest.raises(Refused, match="no name of a service"):
        channel.stop_service(name, Deadline(60))


def test_a_service_that_does_not_exist_is_told(served):
    channel, _ = served

    with pytest.raises(Refused, match="ERROR_"):
        channel.stop_service("nosuchdriver", Deadline(60))


def test_what_it_cannot_do_is_refused_and_it_goes_on(served):
    channel, _ = served

    with pytest.raises(Refused, match="UnknownOperation"):
        channel.request("stacks", Deadline(60), process="System")
    with pytest.raises(TransportError, match=r"A request of \d+ bytes"):
        channel.request("read", Deadline(60), path="C:\\" + "x" * 5000)
    with pytest.raises(Refused, match="ERROR_2"):
        channel.fetch(r"C:\wfp-hil\missing", Deadline(60))

    assert channel.hello(Deadline(60)).boot_id == "3f2b-77"
