"""From a guest that is ready to an image: both ways in are tried, it is shut down in order, its disk is packed."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.config import Profile
from harness.errors import (
    AuthenticationFailed,
    DeadlineExpired,
    GuestError,
    HostError,
    ImageBuildError,
    MachineLost,
    TransportError,
)
from harness.guest import open_guest
from harness.hypervisor import Condition, Machine
from harness.hypervisor.firmware import drop_tpm, fetch_tpm
from harness.images.cache import TEMPORARY, Image, images_root, load_image, remove_image
from harness.images.install.resume import Unfinished
from harness.images.installed import FORMAT
from harness.process import run
from harness.steps import note, step
from harness.waiting import Deadline, wait_for

_ANSWER_SECONDS = 300.0
_SHUTDOWN_SECONDS = 600.0
_PACK_SECONDS = 7200.0


def try_ways_in(profile: Profile, machine: Machine, secrets: Path, *, factor: float) -> None:
    """WinRM with the pinned certificate and the account, and SSH with the key and the pinned host key.

    Raises ImageBuildError with what did not answer: an image that cannot be reached is none.
    """
    limit = Deadline(_ANSWER_SECONDS * factor)
    with step("try WinRM and SSH"), ExitStack() as stack:
        guest = stack.enter_context(open_guest(machine, secrets, kind=str(profile.kind)))
        way = "WinRM"
        try:
            guest.wait_until_ready(limit)
            boot_id = guest.boot_id(deadline=limit)
            way = "SSH"
            guest.files.wait_until_ready(limit)
        except (TransportError, DeadlineExpired, GuestError) as error:
            refused = isinstance(error, AuthenticationFailed)
            raise ImageBuildError(
                f"The guest is installed and says that it is ready, but {way} "
                f"{'refuses us' if refused else 'does not answer'}: {error.message}",
                hint="Begin anew with --restart; serial.log and the screen are in the folder of the installation.",
            ) from error
        note("WinRM and SSH answer", boot_id=boot_id)


def shut_down(profile: Profile, machine: Machine, secrets: Path, *, factor: float) -> None:
    """Shut the guest down as its own system does it, and wait until it is off."""
    with step("shut the guest down"), ExitStack() as stack:
        guest = stack.enter_context(open_guest(machine, secrets, kind=str(profile.kind)))
        try:
            guest.shut_down()
        except (TransportError, GuestError) as error:
            note(f"The guest did not take the order to shut down, its power button is pressed: {error.message}")
            machine.console().press_power()

        def is_off() -> bool | None:
            try:
                machine.check()
            except MachineLost:
                if machine.condition is not Condition.SWITCHED_OFF:
                    raise
                return True
            return None

        try:
            wait_for(is_off, Deadline(_SHUTDOWN_SECONDS * factor), "the guest to switch itself off", interval=0.2)
        except DeadlineExpired as error:
            raise ImageBuildError(f"The installed guest does not shut down: {error.message}") from error
        guest.abandon()


def pack(profile: Profile, unfinished: Unfinished, secrets: Path, *, image_hash: str, facts: dict[str, Any]) -> Image:
    """Put disk, NVRAM, TPM and secrets into the image cache: whole, or not at all."""
    final = images_root() / f"{profile.name}-{image_hash}"
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{profile.name}-", dir=images_root()))
    try:
        temporary.chmod(0o711)
        with step("pack the disk"):
            _pack_disk(unfinished.folder / "disk.qcow2", temporary / "disk.qcow2")
            _pack_disk(unfinished.folder / "nvram.qcow2", temporary / "nvram.qcow2")
        has_tpm = unfinished.record.tpm is not None and fetch_tpm(temporary / "tpm", *unfinished.record.tpm)
        shutil.copytree(secrets, temporary / "secrets")
        (temporary / "secrets").chmod(0o700)
        files = {name: (temporary / name).stat().st_size for name in ("disk.qcow2", "nvram.qcow2")}
        manifest = {
            "name": profile.name,
            "hash": image_hash,
            "format": FORMAT,
            "built": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "size_bytes": sum(files.values()),
            "files": files,
            "tpm": has_tpm,
            **facts,
        }
        (temporary / "image.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if final.exists():
            remove_image(final)
        temporary.rename(final)
    except (OSError, HostError) as error:
        raise ImageBuildError(
            f"The installed guest could not be packed into an image: {error}",
            hint="Free some room, or set WFP_HIL_CACHE to a folder on another disk; the same command goes on.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if unfinished.record.tpm is not None:
        drop_tpm(*unfinished.record.tpm)
    image = load_image(final)
    if image is None:
        raise ImageBuildError(f"The image in '{final}' is not complete right after its build.")
    return image


def _pack_disk(source: Path, target: Path) -> None:
    # Without its snapshots, which 'convert' leaves behind.
    run(
        ["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", source, target],
        deadline=Deadline(_PACK_SECONDS),
    )
    target.chmod(0o644)
