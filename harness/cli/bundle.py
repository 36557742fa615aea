"""`wfp-hil bundle`: a reproduction, packed for somebody else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError


def bundle(
    folder: Annotated[Path, typer.Argument(help="The folder that 'wfp-hil minimise' has written.")],
    driver: Annotated[Path | None, typer.Option(help="The .sys, where it is no longer where it was.")] = None,
    out: Annotated[Path | None, typer.Option(help="The bundle; FOLDER.wfpbundle if not given.")] = None,
    symbols: Annotated[
        bool,
        typer.Option("--symbols", help="The driver's debug information as well: names of functions, paths of sources."),
    ] = False,
) -> None:
    """Pack capture, driver, INF, profile, scenario, results and all they depend on into one file, without any secret.

    'wfp-hil reproduce BUNDLE' replays it elsewhere.
    """
    from harness.config import load_profile
    from harness.minimise.bundle import pack
    from harness.minimise.kept import CAPTURE, SCENARIO, read_record

    kept, was = read_record(folder)
    path = driver or was
    if path is None or not path.is_file():
        raise UsageError(f"The driver is no longer at '{path}'.", hint="Say with --driver where it is.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != kept.driver_sha256:
        raise UsageError(
            f"'{path}' is not the driver of this reproduction: its SHA-256 is {digest[:16]}..., "
            f"that was {kept.driver_sha256[:16]}...",
            hint="Say with --driver where that build is.",
        )
    files = {"capture": folder / CAPTURE, "driver": path, "scenario": folder / SCENARIO}
    if path.with_suffix(".inf").is_file():
        files["inf"] = path.with_suffix(".inf")
    if symbols:
        files["symbols"] = _debug_information(path)
    profile = load_profile(kept.guest)
    files["profile"] = profile.folder / "guest.toml"
    tries = folder / "tries.jsonl"
    if tries.is_file():
        files["results"] = tries
    target = pack(
        out or Path(f"{folder}.wfpbundle"), files, {"reproduction": kept.as_record() | {"guest": profile.name}}
    )
    print(target)


def _debug_information(driver: Path) -> Path:
    from harness.driver.symbols import Symbols

    found = Symbols(driver).source
    if found is None or found == driver:
        raise UsageError(
            f"There is no debug information of '{driver}' in a file of its own, {driver.stem}.debug beside it.",
            hint="Leave out --symbols: what the driver itself has goes with it.",
        )
    return found
