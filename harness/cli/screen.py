"""`wfp-hil screen`: what the screen of a running machine shows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.errors import UsageError


def screen(
    machine: Annotated[str | None, typer.Argument(help="Name of the machine, or a part; not needed for one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Save the picture there, as PNG, and do not show it.")] = None,
) -> None:
    """Show or save the screen of a running machine, of a run or of an installation."""
    from harness.hypervisor import connect
    from harness.hypervisor.console import find_console
    from harness.images.install.screen import save_png, thumbnail

    name = choose_machine(machine)
    connection = connect()
    try:
        picture = find_console(connection, name).screen()
    finally:
        connection.close()
    if out is not None:
        print(f"screen: {save_png(picture, out)}")
        return
    size = shutil.get_terminal_size((100, 40))
    Console(highlight=False).print(thumbnail(picture, size.columns, size.lines - 2))
    print(f"screen of {name}")


def choose_machine(wanted: str | None) -> str:
    """The running machine that was meant. Raises UsageError when there is none, or more than one."""
    from harness.hypervisor.state import live_machines

    live = live_machines()
    fitting = [name for name in live if wanted is None or wanted in name]
    if len(fitting) == 1:
        return fitting[0]
    if not live:
        raise UsageError("No machine is running.", hint="'wfp-hil shell GUEST' boots one, 'wfp-hil run' does so too.")
    if not fitting:
        raise UsageError(f"No running machine is called '{wanted}'.", hint=f"Running: {', '.join(live)}.")
    raise UsageError(f"{len(fitting)} machines are running, which one?", hint=f"Name one of {', '.join(fitting)}.")
