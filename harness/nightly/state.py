"""What is left of a night when it is killed: nightly.json, written anew as a whole each time something changes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import HostError, UsageError
from harness.nightly.cells import Cell
from harness.nightly.made_of import why_again

FILE = "nightly.json"
VERSION = 2
Stage = Literal["waiting", "running", "finished", "refused"]


class CellState(BaseModel):
    """What became of one cell; `folder` is where its latest run wrote, relative to the night's folder.

    `made_of` are the digests of what it ran, by part, and `again` why it is run although it had finished.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    made_of: dict[str, str] = {}
    axes: dict[str, str]
    stage: Stage = "waiting"
    runs: int = 0
    folder: str = ""
    scenarios: int = 0
    exit_code: int | None = None
    started: str = ""
    seconds: float = 0.0
    reason: str = ""
    again: str = ""


class NightState(BaseModel):
    """A night: its cells in the order of the matrix."""

    model_config = ConfigDict(extra="forbid")

    version: int = VERSION
    matrix: str
    title: str
    started: str
    ended: str = ""
    cells: list[CellState] = []

    def cell(self, cell_id: str) -> CellState:
        """The cell of this id."""
        return next(each for each in self.cells if each.id == cell_id)


def now() -> str:
    """This moment, as states write it."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def new_state(matrix: Path, title: str, cells: Sequence[Cell]) -> NightState:
    """A night of which nothing has run."""
    return NightState(matrix=str(matrix.absolute()), title=title, started=now(), cells=[_fresh(cell) for cell in cells])


def resumed(before: NightState, cells: Sequence[Cell]) -> NightState:
    """The night goes on: what is finished and is still made of the same stays; the rest is to be run."""
    kept = {cell.id: cell for cell in before.cells}
    states = []
    for cell in cells:
        old = kept.get(cell.id)
        state = _fresh(cell)
        if old is not None:
            finished = old.stage == "finished" and not cell.refused
            changed = why_again(old.made_of, cell.made_of) if finished else ""
            if finished and not changed:
                state = old
            else:
                state.runs = old.runs  # the folders of earlier runs of it stay as they are
                state.again = changed or old.again
        states.append(state)
    return before.model_copy(update={"cells": states, "ended": ""})


def write_state(folder: Path, state: NightState) -> None:
    """Replace the file as a whole: whoever kills us at any moment finds the old one or the new one.

    Raises HostError.
    """
    path, beside = folder / FILE, folder / f".{FILE}.new"
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(state.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise HostError(
            f"The state of the night cannot be written to '{path}': {error.strerror}.",
            hint="Give a folder with room with --out; what is finished there is found again.",
        ) from error


def read_state(folder: Path) -> NightState:
    """What a night has left.

    Raises UsageError when it cannot be read, or was written by a newer wfp-hil.
    """
    path = folder / FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        version = table.get("version") if isinstance(table, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise UsageError(
                f"'{path}' has version {version}; this wfp-hil knows {VERSION}.",
                hint="A newer wfp-hil has written it. Use that one, or begin a new night with --again.",
            )
        return NightState.model_validate(_of_this_version(table))
    except (OSError, ValueError, ValidationError) as error:
        raise UsageError(
            f"'{path}' cannot be read as the state of a night: {str(error).splitlines()[0]}.",
            hint="Begin a new night with --again; the folder stays as it is.",
        ) from error


def nights(root: Path) -> list[Path]:
    """The folders of nights there, oldest first."""
    return sorted(found.parent for found in root.glob(f"*/{FILE}"))


def _of_this_version(table: object) -> object:
    """Version 1 kept one digest of a cell, which knew nothing of scenarios and images: it is dropped."""
    if isinstance(table, dict) and table.get("version") == 1 and isinstance(table.get("cells"), list):
        cells = [
            {key: value for key, value in cell.items() if key != "fingerprint"} if isinstance(cell, dict) else cell
            for cell in table["cells"]
        ]
        return {**table, "version": VERSION, "cells": cells}
    return table


def _fresh(cell: Cell) -> CellState:
    return CellState(
        id=cell.id, made_of=dict(cell.made_of), axes=dict(cell.axes), scenarios=len(cell.scenarios),
        stage="refused" if cell.refused else "waiting", reason=cell.refused,
    )  # fmt: skip
