"""Options that several commands have, each with its words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.config import NicModel

Guest = Annotated[str, typer.Option(help="A folder under vm-images, or the path of a guest.toml.")]
Driver = Annotated[Path | None, typer.Option(help="The .sys under test; our own callout driver if not given.")]
Nic = Annotated[NicModel | None, typer.Option(help="Model of the test NIC; the profile's if not given.")]
Vcpus = Annotated[int | None, typer.Option(help="Processors of the guest, 1 to 64; the profile's if not given.")]
Verifier = Annotated[
    Literal["off", "standard", "low-resources"] | None,
    typer.Option(help="Profile of Driver Verifier for the driver and ndis.sys; Windows guests only."),
]
_CONTRACT = typer.Option(help="What a driver that breaks its contract comes to: a failure (default), or words alone.")
Contract = Annotated[Literal["fail", "tell"], _CONTRACT]
MaybeContract = Annotated[Literal["fail", "tell"] | None, _CONTRACT]
"""For commands that must know whether it was given."""
Machines = Annotated[
    int | None,
    typer.Option(min=1, max=64, help="Machines side by side; one for each core, as memory allows, if not given."),
]
Timing = Annotated[
    Literal["fast", "capture"], typer.Option(help="As fast as the conversations allow, or as it was captured.")
]
Patience = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long the guest is waited for that does not do as it did.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; out/<run> if not given.")]
History = Annotated[
    str | None, typer.Option(metavar="FILE", help="SQLite file of all runs, or 'off'; under the state folder else.")
]
KnownIssues = Annotated[
    Path | None, typer.Option(help="TOML list of failures that are known; known-issues.toml else, if it is there.")
]
