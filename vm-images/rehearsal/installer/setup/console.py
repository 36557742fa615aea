"""What the stand-in says: stage lines on COM1, the rest on the screen; and what the tests want to go wrong.

`rehearsal.json` in the root of any removable medium may say, all of it optional:
    stall        name of a stage after which nothing goes on
    fail         {"stage": name, "text": text}: the stage ends with this failure
    reboot       {"stage": name, "times": n}: the machine reboots after the stage; without "times" for ever
    require_tpm  true: refused without a TPM, unless the answer file sets LabConfig's BypassTPMCheck
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any, NoReturn

_STAGE = re.compile(r"wfp-hil: stage ([a-z0-9-]+)")
_LINUX_REBOOT_CMD_RESTART = 0x01234567


class Refused(Exception):
    """What Windows Setup would show as an error and stop at."""


class Console:
    """COM1 and the screen of the machine."""

    def __init__(self, wishes: dict[str, Any], counter: Path | None = None) -> None:
        self.wishes = wishes
        self.stage = "setup-started"
        self._counter = counter

    def show(self, text: str) -> None:
        """Say something on the screen only."""
        print(f"wfp-hil stand-in: {text}", flush=True)

    def com1(self, text: str) -> None:
        """Write a line to COM1; a stage line may be where the test wants something to go wrong."""
        with Path("/dev/ttyS0").open("w", encoding="utf-8", newline="") as port:
            port.write(text + "\r\n")
        self.show(text)
        found = _STAGE.match(text)
        if found:
            self.stage = found.group(1)
            self._go_wrong()

    def fail(self, text: str) -> NoReturn:
        """Say what failed and wait, as Setup does with its message box."""
        self.com1(f"wfp-hil: failed {self.stage}: {' '.join(text.split())}")
        wait_for_ever()

    def _go_wrong(self) -> None:
        if self.wishes.get("stall") == self.stage:
            self.show("stalled, as the test wants it")
            wait_for_ever()
        failure = self.wishes.get("fail", {})
        if failure.get("stage") == self.stage:
            self.fail(str(failure.get("text", "as the test wants it")))
        wish = self.wishes.get("reboot", {})
        if wish.get("stage") == self.stage:
            done = int(self._counter.read_text()) if self._counter and self._counter.exists() else 0
            if done < int(wish.get("times", 1 << 30)):
                if self._counter:
                    self._counter.write_text(str(done + 1))
                self.show("reboots, as the test wants it")
                reboot()


def wait_for_ever() -> NoReturn:
    """Neither ends nor works."""
    while True:
        signal.pause()


def reboot() -> NoReturn:
    """Restart the machine, with everything on disk."""
    import ctypes

    os.sync()
    ctypes.CDLL(None).reboot(_LINUX_REBOOT_CMD_RESTART)
    wait_for_ever()


def read_wishes(roots: list[Path]) -> dict[str, Any]:
    """The test's wishes from the first medium that has some."""
    for root in roots:
        path = root / "rehearsal.json"
        if path.is_file():
            wishes: dict[str, Any] = json.loads(path.read_text())
            return wishes
    return {}
