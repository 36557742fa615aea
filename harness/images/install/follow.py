"""Following an installation: its signs, its reboots and its screen, until it is ready or certainly will not be.

Keys are pressed from power-on until the medium is really being read or the first stage came, and never after that.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import DeadlineExpired, ImageBuildError, MachineError, MachineLost
from harness.hypervisor import Condition
from harness.hypervisor.serial import SerialLog
from harness.images.install.stages import Progress, Sign, SignReader
from harness.steps import note
from harness.waiting import Deadline, NotYet, wait_for

_LOOK_SECONDS = 0.25
_PRESS_EVERY = 0.7
_SCREEN_EVERY = 3.0
_MEDIUM = "sdb"
_MEDIUM_IS_READ = 96 << 20  # boot loaders are a few MB, what they load when a key was pressed is hundreds
_MOST_RESETS = 4  # between two stages; Windows' Setup itself has one or two there
_TAIL_LINES = 12
_ESCAPES = re.compile(r"\x1b\[[0-9;=?]*[A-Za-z]|[^\x20-\x7e]")  # firmware clears and colours its console


class Screen(Protocol):
    """What a person at the machine could see and press."""

    def screen(self) -> bytes: ...  # noqa: D102
    def press_any_key(self) -> None: ...  # noqa: D102
    def bytes_read(self, disk: str) -> int: ...  # noqa: D102


class Subject(Protocol):
    """What following needs of a machine."""

    serial: SerialLog

    @property
    def resets(self) -> int: ...  # noqa: D102
    @property
    def condition(self) -> Condition: ...  # noqa: D102
    def check(self) -> None: ...  # noqa: D102
    def console(self) -> Screen: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What there is to see at one moment; `screen` is the latest picture, seconds are of this machine's clock."""

    progress: Progress
    stage_seconds: float
    total_seconds: float
    resets: int
    screen: bytes | None


class Follower:
    """Follows one installation; `on_stage` is called with a stage, `on_view` again and again with what is seen.

    `elapsed` are seconds that an earlier call of the command has spent; keys are pressed for `press_seconds` at most.
    """

    def __init__(
        self,
        machine: Subject,
        progress: Progress,
        *,
        evidence: Path,
        press_seconds: float,
        elapsed: float = 0.0,
        on_stage: Callable[[str], None] = lambda _stage: None,
        on_view: Callable[[View], None] = lambda _view: None,
    ) -> None:
        self.machine = machine
        self.progress = progress
        self._evidence = evidence
        self._press_until = Deadline(press_seconds if not progress.reached else 0)
        self._began = time.monotonic() - elapsed
        self._on_stage = on_stage
        self._on_view = on_view
        self._reader = SignReader()
        self._signs: deque[Sign] = deque()  # read and not yet looked at
        self._told = len(progress.reached)
        self._read_to = machine.serial.size()
        self._stage_began = time.monotonic()
        self._resets = machine.resets
        self._keys_are_over = bool(progress.reached)
        self._next_press = 0.0
        self._next_screen = 0.0
        self._picture: bytes | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the installation was begun, without the time in which it was interrupted."""
        return time.monotonic() - self._began

    def run(self) -> None:
        """Come back when the guest is ready.

        Raises ImageBuildError with the screen, the last serial lines and the likely cause when it will not be.
        """
        while self.progress.awaited is not None:
            stage, limit = self.progress.awaited, Deadline(self.progress.stall_seconds())
            self._stage_began = time.monotonic()
            try:
                reached = wait_for(self._look, limit, f"stage '{stage}'", interval=_LOOK_SECONDS)
            except DeadlineExpired as expired:
                raise self._failure(
                    f"The installation stands still: stage '{stage}' did not come within {limit.seconds:.0f} s. "
                    f"{self.progress.likely_cause()}"
                ) from expired
            for stage in reached:
                self._on_stage(stage)

    def catch_up(self) -> list[str]:
        """All stages until now, with those that a guest that stands still has written since the last look.

        Raises ImageBuildError when the guest wrote that it failed.
        """
        self._read_signs()
        return list(self.progress.reached)

    def _look(self) -> list[str] | None:
        if reached := self._read_signs():
            return reached
        self._check_machine()
        now = time.monotonic()
        if not self._keys_are_over and now >= self._next_press:
            self._next_press = now + _PRESS_EVERY
            self._press()
        if now >= self._next_screen:
            self._next_screen = now + _SCREEN_EVERY
            with suppress(MachineError):  # between two modes there is no picture
                self._picture = self.machine.console().screen()
        self._on_view(
            View(
                progress=self.progress,
                stage_seconds=now - self._stage_began,
                total_seconds=self.elapsed,
                resets=self.machine.resets,
                screen=self._picture,
            )
        )
        raise NotYet(self.machine.serial.tail(1) or "nothing on the serial port")

    def _read_signs(self) -> list[str]:
        """The stages that came since the last look: quick ones come several at once.

        Ctrl-C may come between any two of them: what was read and not yet looked at, seen and not yet told, stays so.
        """
        text, self._read_to = self.machine.serial.read(self._read_to)
        self._signs.extend(self._reader.feed(text))
        known = len(self.progress.reached)
        while self._signs:
            self._refuse(self._signs[0])
            if self.progress.see(self._signs[0]):
                self._keys_are_over = True
                self._resets = self.machine.resets
            self._signs.popleft()
            self._tell()
        self._tell()
        return self.progress.reached[known:]

    def _tell(self) -> None:
        for stage in self.progress.reached[self._told :]:
            note(f"stage '{stage}' after {self.elapsed:.0f} s", stage=stage)
            self._told += 1

    def _refuse(self, sign: Sign) -> None:
        if sign.kind == "failed":
            where = f" in stage '{sign.stage}'" if sign.stage else ""
            raise self._failure(f"The guest says that its installation failed{where}: {sign.text}")
        if self.progress.begins_anew(sign):
            raise self._failure(
                f"The installation began anew after stage '{self.progress.reached[-1]}': the firmware started the "
                "medium again instead of the disk, so what was installed does not boot"
            )

    def _check_machine(self) -> None:
        try:
            self.machine.check()
        except MachineLost as lost:
            if self.machine.condition is Condition.SWITCHED_OFF:
                raise self._failure(
                    f"The guest switched itself off while stage '{self.progress.awaited}' was waited for, which nobody "
                    "asked it to: Setup ends so after an error that it shows, or an evaluation that has expired"
                ) from lost
            raise self._failure(lost.message) from lost
        count = self.machine.resets - self._resets
        if count > _MOST_RESETS:
            raise self._failure(
                f"The guest reboots in a loop: {count} times while stage '{self.progress.awaited}' was waited for. "
                f"{self.progress.likely_cause()}"
            )

    def _press(self) -> None:
        console = self.machine.console()
        with suppress(MachineError):  # right after power-on or a reset
            if self._press_until.expired or console.bytes_read(_MEDIUM) > _MEDIUM_IS_READ:
                self._keys_are_over = True
            else:
                console.press_any_key()

    def _failure(self, sentence: str) -> ImageBuildError:
        """The error, after screen and serial log were put where its hint says."""
        shown = ""
        with suppress(MachineError):
            self._picture = self.machine.console().screen()
        if self._picture:
            from harness.images.install.screen import save_png

            shown = f"the screen is in '{save_png(self._picture, self._evidence / 'screen.png')}', "
        lines = [clean for line in self.machine.serial.tail(_TAIL_LINES) if (clean := _ESCAPES.sub("", line).strip())]
        said = " / ".join(lines[-3:]) if lines else "nothing"
        return ImageBuildError(
            f"{sentence.rstrip('.')}. The guest's last words on the serial port: {said}",
            hint=f"For a look: {shown}all of the serial port in '{self.machine.serial.path}'.",
        )
