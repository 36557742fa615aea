"""Following an installation, with a machine that does as told: what it says when it will not become ready."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as Picture

from harness import steps
from harness.config import StageSettings
from harness.errors import ImageBuildError, MachineError, MachineLost
from harness.hypervisor import Condition
from harness.hypervisor.serial import SerialLog
from harness.images.install.follow import Follower, View
from harness.images.install.stages import Progress

PATIENT = StageSettings(expected_seconds=1, stall_seconds=60)
SHORT = StageSettings(expected_seconds=0.01, stall_seconds=0.05)


def picture(color: tuple[int, int, int] = (0, 0, 200)) -> bytes:
    buffer = io.BytesIO()
    Picture.new("RGB", (64, 48), color).save(buffer, "PNG")
    return buffer.getvalue()


class FakeConsole:
    def __init__(self) -> None:
        self.presses = 0
        self.read = 0
        self.broken = False

    def screen(self) -> bytes:
        if self.broken:
            raise MachineError("no screen")
        return picture()

    def press_any_key(self) -> None:
        self.presses += 1

    def bytes_read(self, disk: str) -> int:
        assert disk == "sdb"
        return self.read


class FakeMachine:
    """Each look at it lets one thing happen."""

    def __init__(self, folder: Path, script: list[str | Callable[[FakeMachine], None]]) -> None:
        self.serial = SerialLog(folder / "serial.log")
        self.serial.path.write_text("")
        self.resets = 0
        self.condition = Condition.RUNNING
        self.fake = FakeConsole()
        self.lost: MachineLost | None = None
        self._script = script

    def check(self) -> None:
        if self.lost is not None:
            raise self.lost
        if self._script:
            step = self._script.pop(0)
            if isinstance(step, str):
                with self.serial.path.open("a") as file:
                    file.write(step)
            else:
                step(self)

    def console(self) -> FakeConsole:
        return self.fake


@pytest.fixture
def follow(tmp_path):
    def follow(*script, times=PATIENT, names=("setup-started", "specialize", "ready"), reached=(), press=60, **keep):
        machine = FakeMachine(tmp_path, list(script))
        progress = Progress(times if isinstance(times, dict) else dict.fromkeys(names, times), 1, reached)
        return machine, Follower(machine, progress, evidence=tmp_path / "evidence", press_seconds=press, **keep)

    return follow


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("harness.images.install.follow._LOOK_SECONDS", 0.0)
    monkeypatch.setattr("harness.images.install.follow._PRESS_EVERY", 0.0)


def reset(machine: FakeMachine) -> None:
    machine.resets += 1


def test_an_installation_that_goes_well_tells_its_stages(follow):
    stages: list[str] = []
    views: list[View] = []
    _, follower = follow(
        "wfp-hil: stage setup-started\r\n", reset, "wfp-hil: stage specialize\r\n", "wfp-hil: ready\r\n",
        on_stage=stages.append, on_view=views.append,
    )  # fmt: skip

    follower.run()

    assert stages == ["setup-started", "specialize", "ready"]
    assert views[0].screen == picture()
    assert views[-1].resets == 1


def test_stages_that_come_at_once_are_all_told(follow):
    stages: list[str] = []
    _, follower = follow(
        "wfp-hil: stage setup-started\nwfp-hil: stage specialize\nwfp-hil: ready\n", on_stage=stages.append
    )

    follower.run()

    assert stages == ["setup-started", "specialize", "ready"]


@pytest.mark.parametrize("at", ["setup-started", "specialize", "ready"])
def test_ctrl_c_between_stages_that_came_at_once_loses_none(follow, at):
    told: list[str] = []

    def interrupt(event: steps.StepEvent) -> None:
        told.append(str(event.fields["stage"]))
        if told[-1] == at and told.count(at) == 1:
            raise KeyboardInterrupt

    _, follower = follow("wfp-hil: stage setup-started\nwfp-hil: stage specialize\nwfp-hil: ready\n")
    stop = steps.subscribe(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            follower.run()
        assert follower.catch_up() == ["setup-started", "specialize", "ready"]
    finally:
        stop()

    assert list(dict.fromkeys(told)) == ["setup-started", "specialize", "ready"]


def test_what_a_guest_that_stands_still_wrote_before_counts(follow):
    machine, follower = follow(names=("setup-started", "specialize", "ready"), reached=("setup-started",))
    with machine.serial.path.open("a") as file:
        file.write("wfp-hil: stage specialize\r\n")

    assert follower.catch_up() == ["setup-started", "specialize"]
    assert follower.progress.awaited == "ready"


def test_a_stage_that_does_not_come_ends_with_screen_serial_log_and_cause(follow, tmp_path):
    _, follower = follow(
        "\x1b[2J\x1b[01;01Hbooting\x1b[?25h\nwfp-hil: stage setup-started\nstill copying\n",
        times={"setup-started": PATIENT, "specialize": SHORT, "ready": PATIENT},
    )

    with pytest.raises(ImageBuildError) as caught:
        follower.run()

    assert caught.value.message == (
        "The installation stands still: stage 'specialize' did not come within 0 s. Setup stopped while it copied "
        "files: a question (edition, licence, disk) that the answer file does not answer, a damaged medium, or a full "
        "disk of the host. The guest's last words on the serial port: "
        "booting / wfp-hil: stage setup-started / still copying"
    )
    assert f"the screen is in '{tmp_path / 'evidence' / 'screen.png'}'" in (caught.value.hint or "")
    assert "serial.log" in (caught.value.hint or "")
    with Picture.open(tmp_path / "evidence" / "screen.png") as saved:
        assert saved.size == (64, 48)


def test_without_a_screen_there_is_still_the_sentence(follow, tmp_path):
    machine, follower = follow(times=SHORT)
    machine.fake.broken = True

    with pytest.raises(ImageBuildError, match=r"'setup-started' did not come .* on the serial port: nothing"):
        follower.run()

    assert not (tmp_path / "evidence" / "screen.png").exists()


def test_what_the_guest_says_failed_is_the_error(follow):
    _, follower = follow("wfp-hil: stage setup-started\nwfp-hil: failed specialize: 0x80070005\n")

    with pytest.raises(
        ImageBuildError, match=r"^The guest says .* failed in stage 'specialize': 0x80070005\. The guest"
    ):
        follower.run()


def test_a_guest_that_reboots_again_and_again_is_in_a_loop(follow):
    _, follower = follow("wfp-hil: stage setup-started\n", *[reset] * 9)

    with pytest.raises(ImageBuildError, match=r"reboots in a loop: 5 times while stage 'specialize' was waited for"):
        follower.run()


def test_reboots_in_different_stages_are_no_loop(follow):
    _, follower = follow(
        *[reset] * 4, "wfp-hil: stage setup-started\n", *[reset] * 4, "wfp-hil: stage specialize\n", "wfp-hil: ready\n"
    )

    follower.run()


def test_a_reboot_right_after_a_stage_counts(follow):
    def keep(stage: str) -> None:  # what is done at a stage takes its time
        if stage == "setup-started":
            machine.resets += 5

    machine, follower = follow("wfp-hil: stage setup-started\n", on_stage=keep)

    with pytest.raises(ImageBuildError, match="reboots in a loop: 5 times"):
        follower.run()


def test_the_medium_that_is_booted_again_is_told_from_a_reboot(follow):
    _, follower = follow(
        "wfp-hil: stage setup-started\n", "wfp-hil: stage specialize\n", reset, "wfp-hil: stage setup-started\n"
    )

    with pytest.raises(ImageBuildError, match="the firmware started the medium again instead of the disk"):
        follower.run()


def test_a_guest_that_switches_itself_off_is_told_from_a_dead_qemu(follow):
    def off(machine: FakeMachine) -> None:
        machine.condition, machine.lost = Condition.SWITCHED_OFF, MachineLost("is gone")

    def dead(machine: FakeMachine) -> None:
        machine.condition, machine.lost = Condition.GONE, MachineLost("The machine is gone: QEMU ended unexpectedly.")

    with pytest.raises(ImageBuildError, match="The guest switched itself off while stage 'setup-started'"):
        follow(off)[1].run()
    with pytest.raises(ImageBuildError, match="QEMU ended unexpectedly"):
        follow(dead)[1].run()


def test_the_last_words_of_a_guest_that_ended_count(follow):
    def say_and_end(machine: FakeMachine) -> None:
        with machine.serial.path.open("a") as file:
            file.write("wfp-hil: ready\n")
        machine.lost = MachineLost("is gone")

    _, follower = follow(say_and_end, names=("ready",))

    follower.run()


def test_keys_are_pressed_until_setup_shows_itself_and_never_later(follow):
    seen: list[int] = []

    def look(machine: FakeMachine) -> None:
        seen.append(machine.fake.presses)

    machine, follower = follow(
        look, look, "wfp-hil: stage setup-started\n", look, look, "wfp-hil: stage specialize\n", "wfp-hil: ready\n"
    )
    follower.run()

    assert seen[:2] == [0, 1]
    assert seen[2] == seen[3] == machine.fake.presses


def test_keys_are_not_pressed_into_a_medium_that_is_being_read(follow):
    def read(machine: FakeMachine) -> None:
        machine.fake.read = 400 << 20

    machine, follower = follow(read, *[lambda _machine: None] * 5, "wfp-hil: stage setup-started\n",
                               names=("setup-started",))  # fmt: skip
    follower.run()

    assert machine.fake.presses == 0


def test_keys_are_pressed_for_so_long_and_not_when_an_installation_is_gone_on_with(follow):
    late, follower = follow(*[lambda _machine: None] * 5, "wfp-hil: ready\n", names=("ready",), press=0)
    follower.run()
    resumed, follower = follow("wfp-hil: stage specialize\n", "wfp-hil: ready\n", reached=["setup-started"])
    follower.run()

    assert late.fake.presses == 0
    assert resumed.fake.presses == 0


def test_time_of_earlier_calls_counts(follow):
    _, follower = follow("wfp-hil: ready\n", names=("ready",), elapsed=1000.0)

    assert 1000 <= follower.elapsed < 1060
