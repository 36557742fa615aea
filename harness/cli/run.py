"""`wfp-hil run`: the scenarios on a guest; any further words go to pytest as they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

from harness.cli.progress import show_steps
from harness.errors import UsageError


def run(
    context: typer.Context,
    guest: Annotated[str, typer.Option(help="A folder under vm-images, or the path of a guest.toml.")] = "reference",
    driver: Annotated[
        Path | None, typer.Option(help="The .sys under test; our own callout driver if not given.")
    ] = None,
    nic: Annotated[
        str | None, typer.Option(help="Model of the test NIC: e1000e, igb, rtl8139, virtio-net-pci.")
    ] = None,
    fresh: Annotated[str | None, typer.Option(help="How often the guest is reverted: test, module or session.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.")] = None,
    scenarios: Annotated[Path, typer.Option(help="Folder or file of scenarios.")] = Path("scenarios"),
) -> None:
    """Build or find the image, boot the guest, deploy the driver and run the scenarios."""
    if not scenarios.exists():
        raise UsageError(
            f"There are no scenarios at '{scenarios}'.", hint="Call wfp-hil in the checkout, or give --scenarios."
        )
    from harness.config import load_profile
    from harness.images import ensure

    load_profile(guest)  # a typing error should cost no time
    with show_steps(max_depth=2):
        ensure(guest)
    arguments = [*context.args, "--guest", guest]
    for option, value in (("--driver", driver), ("--nic", nic), ("--fresh", fresh), ("--out", out)):
        if value is not None:
            arguments += [option, str(value)]
    if not any(Path(word.split("::")[0]).exists() for word in context.args if not word.startswith("-")):
        arguments.append(str(scenarios))
    sys.exit(int(pytest.main(arguments)))
