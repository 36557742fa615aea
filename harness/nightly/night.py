"""Which night it is: a new one, or one that goes on where it was killed; and the one that it is held against."""

from __future__ import annotations

import fcntl
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from harness.errors import HostError, UsageError
from harness.nightly.cells import Cell
from harness.nightly.state import NightState, new_state, nights, read_state, resumed, write_state

_LOCK = ".lock"
_REMEMBERED = 20  # earlier nights that tell how long cells take


@contextmanager
def open_night(
    root: Path, matrix: Path, title: str, cells: Sequence[Cell], *, again: bool
) -> Iterator[tuple[Path, NightState]]:
    """The folder of the night and its state, for this process alone until the block ends.

    The latest night of this matrix goes on if it did not end, unless `again`. Raises UsageError when somebody runs it
    at this moment, HostError when nothing can be written there.
    """
    folder, state = None if again else _unfinished(root, matrix), None
    if folder is None:
        folder = root / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        state = new_state(matrix, title, cells)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w", encoding="utf-8")
    except OSError as error:
        raise HostError(
            f"The folder of the night, '{folder}', cannot be made: {error.strerror}.", hint="Give another with --out."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"The night in '{folder}' runs at this moment.", hint="Wait for it, or begin another with --again."
            ) from error
        if state is None:  # only now nobody else changes it
            state = resumed(read_state(folder), cells)
        write_state(folder, state)
        yield folder, state


def planned(root: Path, matrix: Path, title: str, cells: Sequence[Cell], *, again: bool) -> NightState:
    """The night that `open_night` would give, with nothing made and nothing locked."""
    folder = None if again else _unfinished(root, matrix)
    return new_state(matrix, title, cells) if folder is None else resumed(read_state(folder), cells)


def before(root: Path, night: Path, matrix: Path) -> Path | None:
    """The latest earlier night of this matrix that ended; None if there is none."""
    for folder in reversed(nights(root)):
        if folder.resolve() != night.resolve() and folder.name < night.name:
            with suppress(UsageError):
                state = read_state(folder)
                if state.ended and state.matrix == str(matrix.absolute()):
                    return folder
    return None


def cell_seconds(root: Path) -> dict[tuple[str, int], list[float]]:
    """How long whole cells took in the latest nights, by id and number of scenarios, oldest first."""
    found: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for folder in nights(root)[-_REMEMBERED:]:
        with suppress(UsageError):
            for each in read_state(folder).cells:
                if each.stage == "finished" and each.exit_code in (0, 1):
                    found[each.id, each.scenarios].append(each.seconds)
    return dict(found)


def _unfinished(root: Path, matrix: Path) -> Path | None:
    for folder in reversed(nights(root)):
        state = read_state(folder)
        if state.matrix == str(matrix.absolute()):
            return None if state.ended else folder
    return None
