"""What a person sees while a guest is installed: stage, times, and the guest's screen in small."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from harness.cli.progress import show_steps
from harness.images.install.follow import View
from harness.images.install.screen import thumbnail

_ROWS, _MOST_COLUMNS = 18, 64
_PLAIN_EVERY = 60.0


@contextmanager
def show_installation() -> Iterator[Callable[[View], None]]:
    """Steps as everywhere; below them, on a terminal, a picture that is kept up to date, else a line a minute."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        with show_steps(max_depth=2):
            yield _Lines().show
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live, show_steps(max_depth=2):
        picture = _Picture()
        yield lambda view: live.update(picture.render(view, console.width))


class _Lines:
    def __init__(self) -> None:
        self._next = time.monotonic() + _PLAIN_EVERY

    def show(self, view: View) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PLAIN_EVERY
            print(f"         {describe(view)}", file=sys.stderr, flush=True)


class _Picture:
    def __init__(self) -> None:
        self._seen: bytes | None = None
        self._small = Text("")

    def render(self, view: View, width: int) -> Group:
        if view.screen is not None and view.screen != self._seen:
            self._seen = view.screen
            self._small = thumbnail(view.screen, min(width - 2, _MOST_COLUMNS), _ROWS)
        return Group(self._small, Text(describe(view), style="bold"))


def describe(view: View) -> str:
    """One line: what is waited for, for how long, how long that usually takes, what is still to come."""
    progress = view.progress
    usual = progress.expected_seconds()
    late = " - later than usual" if view.stage_seconds > 2 * usual else ""
    reboots = f", {view.resets} reboots" if view.resets > 1 else ", 1 reboot" if view.resets else ""
    return (
        f"[{progress.number + 1}/{progress.count}] waiting for '{progress.awaited}' for {_clock(view.stage_seconds)}, "
        f"usually {_clock(usual)}{late}; {_clock(view.total_seconds)} so far{reboots}, "
        f"about {_clock(max(0.0, progress.remaining_seconds() - min(view.stage_seconds, usual)))} to go"
    )


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )
