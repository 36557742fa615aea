"""The console in a guest and the look at a screen, without a machine."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image as Picture
from rich.console import Console

from harness.cli.installing import describe
from harness.cli.screen import choose_machine
from harness.cli.shell import _image_of, converse
from harness.config import StageSettings
from harness.errors import TransportError, UsageError
from harness.images.install.follow import View
from harness.images.install.screen import save_png, thumbnail
from harness.images.install.stages import Progress, Sign
from harness.process import find_tool, run


class FakeCommand:
    def __init__(self, session):
        self.session = session
        self.is_running = True

    def send(self, data, *, end=False):
        self.session.sent.append((data, end))
        if self.session.dies:
            raise TransportError("The guest is gone.")
        self.session.on_output("stdout", f"you said {data.strip()}\r\n")

    def wait(self, deadline):
        self.is_running = False

    def terminate(self):
        self.session.sent.append(("terminate", True))


class FakeSession:
    def __init__(self):
        self.sent = []
        self.dies = False

    def start(self, command, *, on_output):
        assert command == "cmd.exe"
        self.on_output = on_output
        return FakeCommand(self)


def test_each_line_goes_to_the_guest_and_what_it_says_comes_back():
    session, out = FakeSession(), io.StringIO()

    converse(session, io.StringIO("ver\ndir\n"), out)

    assert session.sent == [("ver\r\n", False), ("dir\r\n", False), ("exit\r\n", True)]
    assert out.getvalue() == "you said ver\nyou said dir\nyou said exit\n"


def test_exit_ends_it_and_nothing_after_it_is_sent():
    session = FakeSession()

    converse(session, io.StringIO("exit\nver\n"), io.StringIO())

    assert session.sent == [("exit\r\n", False)]


def test_a_guest_that_goes_away_ends_the_console_with_a_sentence(capsys):
    session = FakeSession()
    session.dies = True

    converse(session, io.StringIO("ver\n"), io.StringIO())

    assert "The console ended: The guest is gone." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("live", "wanted", "found"),
    [
        (["wfp-hil-1-reference"], None, "wfp-hil-1-reference"),
        (["wfp-hil-1-reference", "wfp-hil-2-windows-11"], "windows", "wfp-hil-2-windows-11"),
        ([], None, "No machine is running."),
        (["wfp-hil-1-reference"], "windows", "No running machine is called 'windows'."),
        (["wfp-hil-1-reference", "wfp-hil-2-reference"], None, "2 machines are running, which one?"),
    ],
)
def test_the_machine_that_is_meant_is_found_or_asked_for(monkeypatch, live, wanted, found):
    monkeypatch.setattr("harness.hypervisor.state.live_machines", lambda: live)

    if found.endswith((".", "?")):
        with pytest.raises(UsageError, match=re.escape(found)):
            choose_machine(wanted)
    else:
        assert choose_machine(wanted) == found


def test_the_image_of_a_machine_is_that_of_its_overlay(tmp_path):
    if find_tool("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    image, state = tmp_path / "images" / "reference-1", tmp_path / "state"
    image.mkdir(parents=True)
    state.mkdir()
    run(["qemu-img", "create", "-q", "-f", "qcow2", image / "disk.qcow2", "1M"])
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image / "disk.qcow2", state / "disk.qcow2"])

    assert _image_of(state / "disk.qcow2") == image
    with pytest.raises(UsageError, match="was not started from an image"):
        _image_of(image / "disk.qcow2")


def ppm(width, height, color):
    return b"P6\n%d %d\n255\n" % (width, height) + bytes(color) * (width * height)


def test_a_screen_is_saved_as_png_whatever_qemu_gave(tmp_path):
    save_png(ppm(4, 2, (255, 0, 0)), tmp_path / "new" / "screen.png")

    with Picture.open(tmp_path / "new" / "screen.png") as picture:
        assert (picture.format, picture.size, picture.getpixel((3, 1))) == ("PNG", (4, 2), (255, 0, 0))


@pytest.mark.parametrize(("size", "room", "shown"), [((80, 40), (40, 20), (40, 10)), ((40, 81), (80, 20), (20, 20))])
def test_a_thumbnail_fits_and_has_two_points_a_character(size, room, shown):
    small = thumbnail(ppm(*size, (0, 0, 200)), *room)
    lines = small.plain.splitlines()

    assert (len(lines[0]), len(lines)) == shown
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="truecolor", width=200).print(small)
    assert "38;2;0;0;200;48;2;0;0;200m" in out.getvalue()


def test_the_line_below_the_thumbnail():
    times = {name: StageSettings(expected_seconds=60, stall_seconds=600) for name in ("setup-started", "ready")}
    progress = Progress(times, 1)
    progress.see(Sign(kind="stage", stage="setup-started"))

    assert describe(View(progress=progress, stage_seconds=30, total_seconds=95, resets=1, screen=None)) == (
        "[2/2] waiting for 'ready' for 0:30, usually 1:00; 1:35 so far, 1 reboot, about 0:30 to go"
    )
    late = describe(View(progress=progress, stage_seconds=125, total_seconds=4000, resets=0, screen=None))
    assert (
        late == "[2/2] waiting for 'ready' for 2:05, usually 1:00 - later than usual; 1:06:40 so far, about 0:00 to go"
    )
