"""What a hostile guest may send: it ends in an error of ours, within bounds, and writes nowhere else."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, TransportError
from harness.guest.names import local_name
from harness.guest.probe import ProbeClient
from harness.guest.sftp import SftpTransport
from harness.hypervisor.serial import SerialLog
from harness.link import Direction
from harness.plugin.complaints import complaints
from harness.printable import PrintableStream, printable
from harness.trace.event import parse_event
from harness.waiting import Deadline
from harness.witness.pcapng import PcapngWriter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
EVENT = json.loads(
    '{"seq": 1, "time_100ns": 10, "kind": 1, "layer": 66, "remote_addr": "192.0.2.1", "remote_port": 80}'
)


# Names.


@pytest.mark.parametrize(
    ("remote", "local"),
    [
        (r"C:\Windows\MEMORY.DMP", "MEMORY.DMP"), (r"C:\Windows\Minidump\112226-1.dmp", "112226-1.dmp"),
        (r"C:\..", "guest-file"), ("/etc/passwd", "guest-passwd"), (r"C:\x\serial.log", "guest-serial.log"),
        (r"C:\x\frames.pcapng", "guest-frames.pcapng"), ("..\\..\\.bashrc", "guest-bashrc"), ("", "guest-file"),
        ("C:\\a\0b.dmp", "guest-a_b.dmp"), ("C:\\\x1b[2J.dmp", "guest-__2J.dmp"), ("C:\\ü.dmp", "guest-_.dmp"),
    ],
)  # fmt: skip
def test_a_name_of_the_guest_is_a_plain_name_here(remote: str, local: str) -> None:
    assert local_name(remote) == local


@given(st.text())
def test_no_name_leaves_the_folder(remote: str) -> None:
    folder = Path("/run/here")
    chosen = folder / local_name(remote)
    assert chosen.parent == folder
    assert chosen.name.isascii()
    assert len(chosen.name) <= 110
    assert chosen.name not in {"frames.pcapng", "serial.log", "results.jsonl", "timeline.txt", ".", ".."}


# Files.


class LyingFile(io.BytesIO):
    """A remote file of which the server says whatever size it likes."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self._size = size
        self.prefetched: list[int] = []

    def again(self) -> LyingFile:
        again = LyingFile(self.getvalue(), self._size)
        again.prefetched = self.prefetched
        return again

    def stat(self) -> SimpleNamespace:
        return SimpleNamespace(st_size=self._size)

    def prefetch(self, size: int) -> None:
        self.prefetched.append(size)


def sftp(file: LyingFile) -> SftpTransport:
    client = SimpleNamespace(open=lambda *_: file.again(), stat=lambda _: file.stat(), remove=lambda _: None)
    transport = SftpTransport(port=1, user="x", key=Path("/x"), host_key=HOST_KEY)
    transport._connection = SimpleNamespace(sftp=lambda: client, disconnect=lambda: None)  # type: ignore[assignment]
    return transport


HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def test_a_file_that_goes_on_behind_its_size_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="goes on behind its 10 bytes"):
        sftp(LyingFile(b"x" * 100_000, 10)).get("C:\\x", tmp_path / "dump")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_shorter_than_its_size_is_cut(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"was cut twice while .*ended after 3 of 10 bytes"):
        sftp(LyingFile(b"abc", 10)).get("C:\\x", tmp_path / "dump")
    assert list(tmp_path.iterdir()) == []


def test_a_small_file_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.guest.sftp._SMALL", 50_000)
    assert sftp(LyingFile(b"x" * 50_000, 0)).read("C:\\x") == b"x" * 50_000
    with pytest.raises(TransportError, match="has more than 50000 bytes"):
        sftp(LyingFile(b"x" * 50_001, 0)).read("C:\\x")


def test_nothing_is_asked_for_by_the_size_that_the_guest_gives() -> None:
    file = LyingFile(b"abc", 1 << 62)
    with pytest.raises(TransportError, match="has 4611686018427387904 bytes in the guest, wanted 3"):
        sftp(file)._hash_of("C:\\x", 3)
    assert file.prefetched == []
    honest = LyingFile(b"abc", 3)
    assert sftp(honest)._hash_of("C:\\x", 3) == hashlib.sha256(b"abc").hexdigest()


# The probe's lines.


@given(st.lists(JSON | st.dictionaries(st.sampled_from(["id", "ok", "event", "pid", "version"]), JSON)))
def test_no_line_of_the_probe_breaks_its_reader(messages: list[object]) -> None:
    client = ProbeClient(SimpleNamespace(send=lambda data, end=False: None))
    pending = client.start("hello")
    for message in messages:
        client.feed("stdout", json.dumps(message) + "\n")
    if pending.is_done:
        try:
            pending.reply(Deadline(0))
        except HarnessError:
            return


@given(st.binary(max_size=400))
def test_no_bytes_of_the_probe_break_its_reader(printed: bytes) -> None:
    ProbeClient().feed("stdout", printed.decode(errors="replace") + "\n")


def test_a_deep_line_and_one_without_end_are_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    client = ProbeClient(SimpleNamespace(send=lambda data, end=False: None))
    client.feed("stdout", "[" * 200_000 + "\n")
    client.feed("stdout", '{"id":' + "9" * 10_000 + "}\n")
    monkeypatch.setattr("harness.guest.probe._LONGEST_LINE", 1000)
    pending = client.start("hello")
    client.feed("stdout", "x" * 900)
    assert not pending.is_done
    client.feed("stdout", "x" * 900)
    with pytest.raises(TransportError, match="a line of more than 1000 characters"):
        pending.reply(Deadline(0))


# Events.


@given(st.dictionaries(st.sampled_from([*EVENT, "new_addr", "new_port", "status", "value", "irql"]), JSON))
def test_no_event_breaks_the_trace(changes: dict[str, object]) -> None:
    try:
        event = parse_event(EVENT | changes)
        said = str(event)
    except TransportError as refused:
        said = str(refused)
    assert printable(said) == said


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, [], "\x1b[2J", None])
@pytest.mark.parametrize("field", ["seq", "kind", "time_100ns", "remote_addr", "remote_port"])
def test_what_is_no_number_is_refused_or_read(field: str, value: object) -> None:
    try:
        said = str(parse_event(EVENT | {field: value}))
    except TransportError as refused:
        said = str(refused)
    assert "\x1b" not in said


# The serial console, and whatever else is shown.


@given(st.text())
def test_nothing_printed_moves_the_cursor(text: str) -> None:
    shown = printable(text)
    assert all(letter.isprintable() or letter in "\n\t" or not letter.isascii() for letter in shown)
    assert not set(shown) & set("\x1b\x9b\x07\x08\r\x7f\u202e\u2066")
    shown.encode()


def test_a_terminal_gets_text_and_colours_alone() -> None:
    terminal = io.StringIO()
    stream = PrintableStream(terminal)

    stream.write("\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[10;10H \x9b2J plain\r\n")

    assert terminal.getvalue() == "\x1b[31mred\x1b[0m \\x1b]0;title\\x07 \\x1b[2J\\x1b[10;10H \\x9b2J plain\n"
    assert stream.isatty() is False


def test_of_a_serial_log_without_end_a_bounded_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "serial.log"
    log.write_bytes(b"wfp-hil: model: UNIMPLEMENTED: x\n" * 100 + b"the end")
    monkeypatch.setattr("harness.hypervisor.serial._MOST", 100)
    monkeypatch.setattr("harness.plugin.complaints._MOST", 100)

    assert len(SerialLog(log).text()) == 100
    assert SerialLog(log).read(10)[1] == 110
    assert complaints(log, 0) == ("UNIMPLEMENTED: x (3 times)",)
    assert SerialLog(log).wait_for("the end", Deadline(60), check=lambda: None) == log.stat().st_size


@given(st.binary(max_size=300))
def test_no_serial_log_breaks_its_readers(tmp_path_factory: pytest.TempPathFactory, said: bytes) -> None:
    log = tmp_path_factory.mktemp("serial") / "serial.log"
    log.write_bytes(said)
    SerialLog(log).tail()
    for line in complaints(log, 0):
        printable(line)


# The capture.


@given(frame=st.binary(max_size=100), comment=st.text() | st.just("x" * 70_000) | st.just("\ud800"))
def test_every_comment_fits_the_capture(tmp_path_factory: pytest.TempPathFactory, frame: bytes, comment: str) -> None:
    from scapy.utils import RawPcapNgReader

    path = tmp_path_factory.mktemp("capture") / "frames.pcapng"
    with PcapngWriter(path, interface="test0") as writer:
        writer.write(frame, nanoseconds=1, direction=Direction.TO_GUEST, comment=comment)
        writer.write(b"the next", nanoseconds=2, direction=Direction.FROM_GUEST, comment="")
    with RawPcapNgReader(str(path)) as reader:
        assert [raw for raw, _ in reader] == [frame, b"the next"]
