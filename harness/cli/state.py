"""`wfp-hil state`: what the filter engine of a guest holds, as XML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.shell import reach
from harness.errors import UsageError


def state(
    guest: Annotated[
        str | None, typer.Argument(help="A machine that runs, or the profile of a guest to boot; not needed for one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it there, and do not print it.")] = None,
) -> None:
    """Print what the filter engine of a guest holds: sessions, providers, sublayers, callouts, filters; as XML.

    Finds a running machine of that name first, else boots the guest's image, which is gone afterwards.
    """
    from harness.driver import build_all
    from harness.guest.session import PROBE_PATH
    from harness.guest.state_xml import render_state

    with reach(guest) as session:
        if "yes" not in session.run(f"cmd.exe /c if exist {PROBE_PATH} echo yes").stdout:  # no run has brought it
            session.upload(build_all()["wfpprobe.exe"], PROBE_PATH)
        document = render_state(session.probe().wfp_state(), guest=guest or "the machine that runs")
    if out is None:
        sys.stdout.write(document.decode() + "\n")
        return
    try:
        out.write_bytes(document)
    except OSError as error:
        raise UsageError(f"'{out}' cannot be written: {error.strerror}.") from error
    print(f"state: {out}")
