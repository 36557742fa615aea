"""The stages of an installation as the guest reports them on its first serial port, and what it means when one is late.

The guest writes lines of its own: `wfp-hil: stage NAME` when a stage begins, `wfp-hil: failed NAME: TEXT`, and
`wfp-hil: ready` when all is done. The profile names the stages in their order, each with the time since the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from harness.config import StageSettings

READY = "ready"
_LINE = re.compile(r"wfp-hil: (?:stage (?P<stage>[a-z0-9-]+)|failed(?: (?P<failed>[a-z0-9-]+))?: (?P<text>.*)|ready\b)")

# What is probably wrong when a stage does not come, by the stage that is waited for.
_CAUSES = {
    "setup-started": "The firmware did not start the medium, or Setup did not read the answer file and asks its first "
    "question: the screen shows which",
    "specialize": "Setup stopped while it copied files: a question (edition, licence, disk) that the answer file does "
    "not answer, a damaged medium, or a full disk of the host",
    "oobe": "Windows did not get through its first boot: settings of the pass 'specialize' that it refuses, or a "
    "reboot that did not come up",
    "first-logon": "The first-run pages wait for somebody: an account, a network or a region that the answer file does "
    "not give this build of Windows",
    "network-private": "The first-logon script did not begin: the automatic logon failed, or PowerShell does not run "
    "scripts from the answer CD",
    "winrm": "The networks could not be made private, without which Windows does not open WinRM",
    "ssh": "WinRM's set-up hangs",
    "guest-tools": "The SSH server could not be installed: from Windows Update it needs a network; hand in a package",
    "test-signing": "The drivers of the virtio medium wait for a confirmation",
    "crash-settings": "Test-signing could not be switched on: Secure Boot is on, or bcdedit was refused",
    "quiet": "The crash settings hang: the disk may have no room for the dump file",
    "probe-ready": "Updates and background services do not let themselves be made quiet",
    "finalise": "The reboot after the first logon did not come up, or the task that goes on as SYSTEM does not start",
    "sealed": "The script that removes the installation's secrets hangs",
    "ready": "The guest is sealed and does not say that it is ready: its services do not come up",
}
_UNKNOWN_CAUSE = "What this stage waits for is not known: the screen and the serial log are all there is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One line of the guest: a stage, a failure, or that it is ready."""

    kind: Literal["stage", "failed", "ready"]
    stage: str
    text: str = ""


class SignReader:
    """Finds signs in serial output that arrives piece by piece."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[Sign]:
        """The signs in whole lines; the rest is kept for the next piece."""
        *lines, self._rest = (self._rest + text).replace("\r", "\n").split("\n")
        return [sign for line in lines if (sign := _read(line))]


def _read(line: str) -> Sign | None:
    found = _LINE.search(line)
    if found is None:
        return None
    if found["stage"]:
        return Sign(kind="stage", stage=found["stage"])
    if found["text"] is not None:
        return Sign(kind="failed", stage=found["failed"] or "", text=found["text"].strip())
    return Sign(kind="ready", stage=READY)


class Progress:
    """How far an installation is; times are those of the profile, stretched where KVM does not work.

    `doubts` are causes that this installation has and others have not, by the stage that would not come.
    """

    def __init__(
        self,
        stages: Mapping[str, StageSettings],
        factor: float,
        reached: Sequence[str] = (),
        *,
        doubts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._stages = dict(stages)
        self._names = list(stages)
        self._factor = factor
        self._doubts = doubts
        self.reached = [name for name in reached if name in self._stages]

    @property
    def awaited(self) -> str | None:
        """The next stage; None when the last was reached."""
        at = self._names.index(self.reached[-1]) + 1 if self.reached else 0
        return self._names[at] if at < len(self._names) else None

    @property
    def number(self) -> int:
        """How many of the stages lie behind."""
        return len(self._names) if self.awaited is None else self._names.index(self.awaited)

    @property
    def count(self) -> int:
        """How many stages there are."""
        return len(self._names)

    def expected_seconds(self) -> float:
        """How long the awaited stage usually takes to come."""
        return self._stages[self.awaited].expected_seconds * self._factor if self.awaited else 0.0

    def stall_seconds(self) -> float:
        """After which nobody believes in the awaited stage any more."""
        return self._stages[self.awaited].stall_seconds * self._factor if self.awaited else 0.0

    def remaining_seconds(self) -> float:
        """How long the awaited stage and all after it usually take."""
        return sum(self._stages[name].expected_seconds for name in self._names[self.number :]) * self._factor

    def see(self, sign: Sign) -> bool:
        """Take note of a sign; True when it is a stage that was not reached before, which may skip others.

        A guest that is ready says so at each of its boots: before the last stage but one that means nothing.
        """
        if sign.kind == "failed" or sign.stage not in self._stages or sign.stage in self.reached:
            return False
        if sign.stage == READY and self.awaited != READY:
            return False
        if self.reached and self._names.index(sign.stage) < self._names.index(self.reached[-1]):
            return False
        self.reached.append(sign.stage)
        return True

    def begins_anew(self, sign: Sign) -> bool:
        """Whether the guest reports its first stage again: it was installed, and boots the medium again."""
        return sign.kind == "stage" and len(self.reached) > 1 and sign.stage == self._names[0]

    def likely_cause(self) -> str:
        """Why the awaited stage did not come, as far as can be guessed."""
        stage = self.awaited or ""
        return self._doubts.get(stage) or _CAUSES.get(stage, _UNKNOWN_CAUSE)


def total_seconds(stages: Mapping[str, StageSettings], factor: float) -> float:
    """How long a whole installation usually takes."""
    return sum(stage.expected_seconds for stage in stages.values()) * factor
