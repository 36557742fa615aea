"""Images that were installed from a medium: which one a run uses, and when it is too old or about to expire."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shlex

from harness.config import Profile, known_profiles, load_profile, profiles_root
from harness.errors import UsageError
from harness.images.cache import Image, list_images
from harness.steps import note

FORMAT = 1  # of installed images; one that a version of the project with another number made is not used
# From the installation on (learn.microsoft.com/evalcenter): afterwards Windows switches itself off every hour.
_EVALUATION_DAYS = {"Client": 90, "Server": 180}
_WARN_DAYS = 14
_INPUTS = ("setup", "registry.toml")  # of vm-images/windows: what goes into a guest


def installed_profile(name: str) -> Profile | None:
    """The profile of this name if its guest is installed from a medium, else None."""
    if name not in known_profiles():
        return None
    profile = load_profile(name)
    return profile if profile.install is not None else None


def find_installed(profile: Profile, *, now: dt.datetime | None = None) -> Image:
    """The newest image of this profile that this version of the project can use.

    Raises UsageError with the command that builds one when there is none, when it was built by another version of the
    project, or when its evaluation has expired.
    """
    command = build_command(profile.name)
    found = [image for image in list_images() if image.name == profile.name]
    usable = [image for image in found if image.manifest.get("format") == FORMAT]
    if not found:
        raise UsageError(
            f"There is no image of '{profile.name}' yet: it is installed from a medium of yours.", hint=command
        )
    if not usable:
        raise UsageError(
            f"The image of '{profile.name}' was built by another version of this project: its format is "
            f"{found[0].manifest.get('format', 'unknown')}, wanted {FORMAT}.",
            hint=f"Build it again: {command}",
        )
    image = usable[0]
    if image.manifest.get("recipe") != recipe_hash(profile):
        note(
            f"The image of '{profile.name}' was built from other scripts or settings than there are now.", hint=command
        )
    _check_evaluation(profile.name, image, now or dt.datetime.now(dt.UTC))
    return image


def recipe_hash(profile: Profile) -> str:
    """Identity of what the project puts into an image of this profile, whatever the medium."""
    exclude = {"stages", "tcg_factor"}
    settings = profile.install.model_dump(mode="json", exclude=exclude) if profile.install else {}
    machine = profile.machine
    hardware = [
        machine.firmware,
        machine.secure_boot,
        machine.tpm,
        machine.disk_bus,
        machine.management_nic,
        machine.nics,
    ]
    digest = hashlib.sha256(json.dumps([FORMAT, settings, hardware], sort_keys=True).encode())
    shared = profiles_root() / "windows"
    for name in _INPUTS:
        root = shared / name
        for path in sorted([root] if root.is_file() else root.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(shared)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def newest_installed() -> frozenset[str]:
    """Hashes of the newest image of each guest that is installed: they are not to be thrown away."""
    newest: dict[str, str] = {}
    for image in list_images():
        if image.manifest.get("format") == FORMAT:
            newest.setdefault(image.name, image.hash)
    return frozenset(newest.values())


def evaluation_end(image: Image) -> dt.datetime | None:
    """When the evaluation of this Windows ends; None where it is none."""
    system = image.manifest.get("system", {})
    if "Eval" not in str(system.get("edition_id", "")):
        return None
    days = _EVALUATION_DAYS.get(str(system.get("installation_type", "Client")).split()[0], 90)
    return dt.datetime.fromisoformat(image.manifest["built"]) + dt.timedelta(days=days)


def build_command(name: str) -> str:
    """What to type for such an image."""
    return f"wfp-hil image build {shlex.quote(name)} --iso FILE"


def _check_evaluation(name: str, image: Image, now: dt.datetime) -> None:
    end = evaluation_end(image)
    if end is None:
        return
    if now >= end:
        raise UsageError(
            f"The evaluation of Windows in the image of '{name}' expired on {end:%Y-%m-%d}: it would switch itself off "
            "every hour.",
            hint=f"Build it again, for which the same medium does: {build_command(name)} --restart",
        )
    left = (end - now).days
    if left <= _WARN_DAYS:
        note(f"The evaluation of Windows in the image of '{name}' expires in {left} days.")
