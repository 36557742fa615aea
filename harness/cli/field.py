"""What the commands that attempt a capture many times have in common: their options, and what they show."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.before import make_ready
from harness.errors import UsageError
from harness.printable import printable

if TYPE_CHECKING:
    from harness.capture import Capture
    from harness.minimise.criterion import Criterion
    from harness.plugin.options import RunOptions
    from harness.reproduce import Settings

CaptureFile = Annotated[Path, typer.Argument(help="A pcap or pcapng file.")]
Until = Annotated[
    str,
    typer.Option(
        metavar="crash|hang|fail|EXPR",
        help="What is looked for; EXPR compares outcome, code, module, offset, symbol, rules, departures, message.",
    ),
]
GuestAddress = Annotated[
    list[str] | None, typer.Option(metavar="IP", help="The guest's address in the capture; inferred if not given.")
]
Votes = Annotated[
    int,
    typer.Option(min=0, max=1000, help="Attempts that one try may take; as often as the first ones ask for if 0."),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; out/<run> if not given. Given again: goes on.")]


def settings_of(guest_address: list[str] | None, timing: str, patience: float) -> Settings:
    """How captures are replayed."""
    from harness.reproduce import Settings
    from harness.reproduce import Timing as Way

    if not 0 < patience <= 600:
        raise UsageError(f"--patience is {patience:g} seconds, wanted more than 0 and at most 600.")
    return Settings(guest_addresses=tuple(guest_address or ()), timing=Way(timing), patience=patience)


def options_of(
    guest: str, driver: Path | None, nic: str | None, vcpus: int | None, contract: str, out: Path | None, what: str,
    verifier: str | None = None,
) -> RunOptions:  # fmt: skip
    """What the bench is asked for."""
    from harness.plugin.options import RunOptions

    name = f"{what}-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return RunOptions(
        guest=guest, driver=driver, nic=nic, vcpus=vcpus, fresh="test", reuse_boot=True, contract=contract,
        out=out or Path("out") / name, verifier=verifier,
    )  # fmt: skip


def look_before(capture: Path, guest: str, vcpus: int | None, until: str) -> tuple[Capture, Criterion]:
    """Everything that may be mistyped, before anything boots; then the image."""
    from harness.capture import read
    from harness.config import load_profile
    from harness.minimise.criterion import parse_criterion

    criterion = parse_criterion(until)
    profile = load_profile(guest).with_vcpus(vcpus)
    loaded = read(capture)
    make_ready(profile)
    return loaded, criterion


def machines_for(asked: int | None, guest: str) -> int:
    """How many machines side by side: one for each core, as memory allows, up to four."""
    from harness.cli.run import machines_here
    from harness.config import load_profile

    return machines_here(load_profile(guest)) if asked is None else asked


class Teller:
    """Lines with a clock; on a terminal the last one moves."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._moving = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """A line that stays."""
        end = "\x1b[K\n" if self._moving else "\n"
        print(f"{self._clock()}  {printable(text)}", end=end, file=sys.stderr, flush=True)

    def move(self, text: str) -> None:
        """A line that the next one writes over; nothing where the output is no terminal."""
        if self._moving:
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            print(f"{self._clock()}  {printable(text)}"[:width], end="\x1b[K\r", file=sys.stderr, flush=True)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began:6.1f} s"


@contextmanager
def until_interrupted(words: str) -> Iterator[None]:
    """Ctrl-C ends the block with 130, and with what is to be said of what there is."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{words}", file=sys.stderr)
        sys.exit(130)
