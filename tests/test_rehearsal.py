"""Installing a guest from a medium, real in every part but Windows: the project's stand-in medium under UEFI firmware.

Interrupted twice on the way, once by Ctrl-C and once by a kill; then the image boots, is reached, saved and put back.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config import load_profile
from harness.errors import ImageBuildError
from harness.guest import open_guest
from harness.hypervisor import NicSpec, Way, connect, leftovers, open_machine
from harness.images import ensure
from harness.images.install import follow
from harness.images.install.build import install_image
from harness.images.install.rehearsal import build_installer
from harness.images.install.resume import find_unfinished
from harness.link import StreamLink
from harness.media import write_answer_cd
from harness.ownership import temporary_folder
from harness.process import run
from harness.waiting import Deadline
from tests.running import ROOT, WFP_HIL, run_scenarios

PROFILE = load_profile("rehearsal")
INSTALL_SECONDS = 1200

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def medium() -> Path:
    """The stand-in for Windows' medium, from the cache or made now."""
    return build_installer(ensure("reference"), Deadline(600))


@pytest.fixture(scope="module")
def cache(medium: Path) -> Iterator[Path]:
    """A cache of these tests' own, where the user that QEMU runs as may pass."""
    with (
        temporary_folder("test", beside=Path("/var/tmp"), passable=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("WFP_HIL_CACHE", str(folder))
        yield folder
        leftovers.clean()
        for unfinished in find_unfinished():
            unfinished.remove()  # with the TPM that libvirt keeps for it elsewhere


class Build:
    """`wfp-hil image build rehearsal`, as a person would start it."""

    def __init__(self, medium: Path, *words: str) -> None:
        # Where this suite runs in the background of a shell, SIGINT is ignored, and so it would be in the command.
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT", WFP_HIL, "image", "build", "rehearsal", "--iso", medium, *words],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.said = ""

    def until(self, wanted: str) -> None:
        """Read what it says until a line has this in it."""
        for line in self.process.stdout:
            self.said += line
            if wanted in line:
                return
        pytest.fail(f"It ended without saying '{wanted}':\n{self.said}")

    def end(self, signal_number: int | None = None) -> int:
        """Its exit code, after the signal if one is given."""
        if signal_number is not None:
            os.kill(self.process.pid, signal_number)
        with self.process.stdout as rest:
            self.said += rest.read()
        return self.process.wait(INSTALL_SECONDS)


@pytest.fixture(scope="module")
def built(medium: Path, cache: Path) -> list[str]:
    """What three calls of the same command said, of which the last made the image."""
    killed = Build(medium)
    killed.until("kept for going on from here")
    killed.end(signal.SIGKILL)

    interrupted = Build(medium)
    interrupted.until("stage 'specialize'")
    assert interrupted.end(signal.SIGINT) == 130, interrupted.said

    last = Build(medium)
    assert last.end() == 0, last.said
    return [killed.said, interrupted.said, last.said]


def test_a_killed_and_an_interrupted_installation_are_gone_on_with(built):
    killed, interrupted, last = built

    assert "stage 'setup-started'" in killed
    assert "start the machine from the medium" in killed
    for said in (interrupted, last):
        assert "go on with the installation: done" in said
        assert "start the machine from the medium" not in said
        assert "stage 'setup-started'" not in said
    assert "the same command goes on with it" in interrupted


def test_every_stage_reported_itself_in_its_order(built):
    told = re.findall(r"stage '([a-z-]+)' after", "".join(built))

    assert list(dict.fromkeys(told)) == list(PROFILE.install.stages)


def test_the_image_says_what_it_was_made_from_and_nothing_is_left_of_the_installation(built, cache):
    image = ensure("rehearsal")

    assert image.manifest["system"]["name"] == "wfp-hil stand-in Enterprise"
    assert list(image.manifest["stages"]) == list(PROFILE.install.stages)
    assert image.tpm is not None
    assert [path.name for path in image.tpm.iterdir()] == ["tpm2-00.permall"]
    assert image.nvram is not None
    told = json.loads(run(["qemu-img", "info", "--output=json", image.nvram]).stdout)
    assert "snapshots" not in told
    assert image.secrets.stat().st_mode & 0o777 == 0o700
    assert not (cache / "installs" / "rehearsal").exists()
    connection = connect()
    assert not [leftover for leftover in leftovers.find(connection) if "rehearsal" in leftover.name]
    connection.close()


def test_the_same_command_finds_the_image(built, medium):
    again = Build(medium)

    assert again.end() == 0
    assert str(ensure("rehearsal").path) in again.said
    assert "install ..." not in again.said


def test_the_image_boots_is_reached_and_put_back_in_place(built, cache, tmp_path):
    image = ensure("rehearsal")
    with StreamLink.listen() as link:
        nics = [NicSpec(link_port=link.port)]
        with open_machine(PROFILE, image, run_dir=tmp_path, nics=nics) as machine:
            machine.start(Deadline(PROFILE.boot.ready_seconds))
            assert "Press any key" not in machine.serial.text()
            with open_guest(machine, image.secrets, kind="reference") as guest:
                guest.wait_until_ready(Deadline(120))
                boot_id = guest.boot_id()
                with guest.held():
                    assert machine.save_snapshot("first") is Way.IN_PLACE
                assert guest.run("cmd /c echo before>C:\\wfp-hil\\mark").exit_code == 0

                assert machine.revert("first").way is Way.IN_PLACE
                guest.reverted()

                assert guest.run("cmd /c type C:\\wfp-hil\\mark").exit_code != 0
                assert guest.boot_id() == boot_id


def test_a_run_takes_the_installed_guest_as_any_other(built, cache, tmp_path):
    words = ("--guest", "rehearsal", "scenarios/redirect", "-k", "proxy")

    done = run_scenarios(tmp_path / "out", *words, seconds=INSTALL_SECONDS)

    assert done.exit_code == 0, done.text


@pytest.fixture
def wish(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, object]], Path]:
    """A CD that tells the stand-in what is to go wrong."""

    def wish(wanted: dict[str, object]) -> Path:
        path = cache / "wishes.iso"
        path.unlink(missing_ok=True)
        write_answer_cd(path, {"rehearsal.json": json.dumps(wanted).encode()})
        return path

    return wish


def failing(medium: Path, wishes: Path, *, stall: float = 600) -> ImageBuildError:
    """The error that an installation with these wishes ends with."""
    stages = {
        name: times.model_copy(update={"stall_seconds": stall if name == "specialize" else times.stall_seconds})
        for name, times in PROFILE.install.stages.items()
    }
    install = PROFILE.install.model_copy(update={"stages": stages})
    with pytest.raises(ImageBuildError) as caught:
        install_image(
            PROFILE.model_copy(update={"install": install}), medium, virtio_iso=wishes, restart=True
        )  # fmt: skip
    return caught.value


def test_a_stage_that_stalls_ends_with_the_screen_and_the_likely_cause(medium, cache, wish):
    error = failing(medium, wish({"stall": "setup-started"}), stall=5)

    assert "stage 'specialize' did not come within 5 s. Setup stopped while it copied files" in error.message
    assert error.message.endswith("wfp-hil: stage setup-started")
    screen = cache / "installs" / "rehearsal" / "log" / "screen.png"
    assert str(screen) in (error.hint or "")
    assert screen.read_bytes().startswith(b"\x89PNG")


def test_what_setup_says_went_wrong_is_the_error(medium, cache, wish):
    error = failing(medium, wish({"fail": {"stage": "setup-started", "text": "no image of that name"}}))

    assert "failed in stage 'setup-started': no image of that name" in error.message


def test_a_guest_that_reboots_and_comes_no_further_is_found_out(medium, cache, wish, monkeypatch):
    monkeypatch.setattr(follow, "_MOST_RESETS", 1)
    error = failing(medium, wish({"reboot": {"stage": "specialize"}}))

    assert "reboots in a loop: 2 times while stage 'oobe' was waited for" in error.message
    connection = connect()
    left = [name for name in (domain.name() for domain in connection.listAllDomains()) if "rehearsal" in name]
    connection.close()
    assert left == []
