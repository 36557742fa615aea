"""`wfp-hil reproduce` before any guest: what it says of a capture, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import CaptureError, DriverPackageError, UsageError
from tests.reproduce.stories import GUEST, PEER, Story


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    story = Story()
    story.tcp((GUEST, 40000), (PEER, 80)).say(b"begun before").answer(b"x").close()
    story.udp((PEER, 53), ("198.51.100.99", 53), b"between others")
    path = tmp_path / "field.pcapng"
    story.capture().write(path)
    return path


def show(*words: object) -> str:
    result = CliRunner().invoke(app, ["reproduce", *map(str, words), "--show"], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_it_shows_who_is_who_and_what_departs(capture: Path) -> None:
    text = show(capture, "--guest-address", GUEST)
    assert "The guest plays 10.0.0.5: as it was asked for." in text
    assert "8 packets in 2 conversations" in text
    assert "  tcp 10.0.0.5:40000 > 198.51.100.7:80, 7 packets from number 1" in text
    assert "opened with a handshake of its own" in text
    assert "Packet 8: It is between other hosts" in text


def test_packets_and_hosts_can_be_chosen(capture: Path) -> None:
    assert "7 packets in 1 conversation," in show(capture, "--host", GUEST)
    assert "2 packets in 1 conversation," in show(capture, "--packets", "3-4")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--packets", "4-3"], UsageError, "'4-3' is no range of packets."),
        (["--packets", "100-"], CaptureError, "None of the 8 IP packets"),
        (["--host", "here"], UsageError, "'here' is not an IP address."),
        (["--guest-address", "192.0.2.77"], UsageError, "No packet in the capture is to or from 192.0.2.77."),
        (["--guest", "no-such-guest"], UsageError, "no-such-guest"),
        (["--driver", "/no/such.sys"], DriverPackageError, "/no/such.sys"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_guest_starts(
    capture: Path, words: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, ["reproduce", str(capture), *words], catch_exceptions=False)


def test_two_public_hosts_are_refused_without_a_terminal(tmp_path: Path) -> None:
    story = Story()
    story.udp(("198.51.100.1", 1), ("203.0.113.1", 2), b"x")
    story.capture().write(tmp_path / "two.pcapng")
    with pytest.raises(UsageError, match="It cannot be told which host"):
        CliRunner().invoke(app, ["reproduce", str(tmp_path / "two.pcapng")], catch_exceptions=False)
