"""`wfp-hil reproduce BUNDLE`: what somebody else has packed, replayed here."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from harness.config import NicModel
from harness.errors import UsageError
from harness.minimise.kept import Reproduction


@dataclass(frozen=True, slots=True)
class Unbundled:
    """The files of a bundle in a folder of their own, and how they are replayed; the driver None: our own."""

    capture: Path
    driver: Path
    kept: Reproduction


@contextmanager
def unbundled(path: Path) -> Iterator[Unbundled]:
    """Check and unpack a bundle; its files are gone after the block.

    Raises UsageError for one that is damaged, newer, or not what its manifest says.
    """
    from harness.minimise.bundle import unpack
    from harness.ownership import temporary_folder

    with temporary_folder("bundle") as folder:
        bundle = unpack(path, folder / "files")
        record = bundle.facts.get("reproduction")
        if not isinstance(record, dict):
            raise UsageError(f"The bundle '{path}' does not say how it is reproduced.")
        kept = Reproduction.from_record(record, f"The bundle '{path}'")
        driver = bundle.file("driver")
        if hashlib.sha256(driver.read_bytes()).hexdigest() != kept.driver_sha256:
            raise UsageError(f"The driver in the bundle '{path}' is not the one that it was made with.")
        if "/" in kept.guest or "\\" in kept.guest or kept.guest.startswith("."):
            raise UsageError(f"The bundle '{path}' names the guest '{kept.guest}', wanted the name of a profile.")
        _tell(kept)
        yield Unbundled(bundle.file("capture"), driver, kept)


def timing_of(kept: Reproduction) -> Literal["fast", "capture"]:
    """Its timing, if it is one; raises UsageError."""
    return _one_of(kept.timing, "timing", ("fast", "capture"))  # type: ignore[return-value]


def contract_of(kept: Reproduction) -> Literal["fail", "tell"]:
    """What a broken contract comes to."""
    return _one_of(kept.contract, "contract", ("fail", "tell"))  # type: ignore[return-value]


def nic_of(kept: Reproduction) -> NicModel | None:
    """Its NIC; None for the profile's."""
    return _one_of(kept.nic, "nic", get_args(NicModel)) if kept.nic else None  # type: ignore[return-value]


def _one_of(value: str, name: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise UsageError(f"The bundle has '{value[:80]}' for '{name}', wanted one of {', '.join(choices)}.")
    return value


def _tell(kept: Reproduction) -> None:
    """What is another here than where it was made."""
    from importlib.metadata import version

    from harness.images import wanted_hashes

    print(
        f"From wfp-hil {kept.harness}: {kept.packets} of {kept.source_packets} packets of {kept.source}, by which "
        f"{kept.driver or 'our own driver'} came to {kept.verdict} on guest '{kept.guest}', in {kept.seen}.",
        file=sys.stderr,
    )
    if kept.harness != version("wfp-hil"):
        print(f"This is wfp-hil {version('wfp-hil')}: the replay may differ.", file=sys.stderr)
    if kept.image and kept.image not in wanted_hashes():
        print(f"The image was {kept.image}, which this checkout does not make: the guest may differ.", file=sys.stderr)
