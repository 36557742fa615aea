"""Which image of a medium is to be installed; and why none can be, said before any machine is started."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UsageError
from harness.media.iso import Medium
from harness.media.wim import WimImage, read_wim

# A split install.swm describes all images in its first part.
_ARCHIVES = ("sources/install.wim", "sources/install.esd", "sources/install.swm")
_OTHER_FOLDERS = ("x64", "x86")  # of a medium for both architectures, as Microsoft's own tool makes it
_EVALUATION = "eval"


def choose_image(
    medium: Medium,
    *,
    editions: Sequence[str],
    edition_ids: Sequence[str],
    architecture: str,
    minimum_build: int,
    wanted: str | None = None,
    product_key: str | None = None,
) -> WimImage:
    """The image to install: the one that is `wanted` (by name, edition id or number), else the first of `editions`.

    `editions` are display names in order of preference; `edition_ids` count where a medium in another language has none
    of these names. Raises UsageError with what the medium has instead.
    """
    images = read_images(medium)
    fitting = [image for image in images if image.architecture == architecture]
    if not fitting:
        seen = ", ".join(sorted({image.architecture or "nothing" for image in images}))
        raise UsageError(
            f"'{medium.path}' is a medium for {seen}, and this guest is {architecture}.",
            hint=f"Take the medium for {'x64' if architecture == 'amd64' else architecture}.",
        )
    chosen = _by_wish(fitting, wanted) if wanted else _by_preference(fitting, editions, edition_ids)
    if chosen is None:
        asked = (
            f"the edition '{wanted}'"
            if wanted
            else f"none of the editions that this guest is made for: {_listed(editions)}"
        )
        has = "has not" if wanted else "has"
        raise UsageError(
            f"'{medium.path}' {has} {asked}. It has {_described(images)}.",
            hint="--edition chooses one of them by its name or number.",
        )
    if chosen.build < minimum_build:
        raise UsageError(
            f"'{chosen.display_name}' on '{medium.path}' is build {chosen.build}, "
            f"and this guest wants {minimum_build} at least.",
            hint="The medium is of an older Windows than the guest; 'wfp-hil image build' has a guest for each.",
        )
    if not medium.uefi_bootable:
        raise UsageError(
            f"'{medium.path}' cannot be booted by UEFI: its boot catalog has no entry for that.",
            hint="Take the medium as Microsoft offers it; tools that make bootable USB sticks change it.",
        )
    if product_key is not None and chosen.edition_id.lower().endswith(_EVALUATION):
        raise UsageError(
            f"'{chosen.display_name}' is an evaluation, which takes no product key.",
            hint="Leave --product-key out, or take the medium that the key was given for.",
        )
    return chosen


def read_images(medium: Medium) -> tuple[WimImage, ...]:
    """All images of the medium. Raises UsageError when it is no installation medium of Windows."""
    archive = next((path for path in _ARCHIVES if medium.exists(path)), None)
    if archive is None:
        raise UsageError(
            f"'{medium.path}' (label '{medium.volume_id}') is no installation medium of Windows: "
            f"it has none of {', '.join(_ARCHIVES)}.",
            hint=_what_else(medium),
        )
    with medium.open(archive) as stream:
        info = read_wim(stream, name=archive)
    if not info.images:
        raise UsageError(f"'{archive}' on '{medium.path}' has no image in it.")
    return info.images


def _what_else(medium: Medium) -> str:
    tops = {path.partition("/")[0].lower() for path in medium.listing}
    if tops.issuperset(_OTHER_FOLDERS):
        return "It is a medium for two architectures; take the one for x64 alone."
    if "netkvm" in tops:
        return "It is the medium of virtio drivers: that goes with --virtio-iso."
    if "hlksetup.exe" in tops or "hckinstall" in tops:
        return "It is a certification kit; the guest is installed from a medium of Windows itself."
    if {"casper", "live", "isolinux", "dists", "install.amd"} & tops:
        return "It looks like a medium of Linux."
    return "Windows' own media, also its evaluations, are at https://www.microsoft.com/evalcenter."


def _by_wish(images: Sequence[WimImage], wanted: str) -> WimImage | None:
    word = wanted.strip().casefold()
    for take in (
        lambda image: image.display_name,
        lambda image: image.name,
        lambda image: str(image.index),
        lambda image: image.edition_id,
    ):
        found = [image for image in images if take(image).casefold() == word]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"'{wanted}' could be any of {_described(found)}.", hint="--edition takes the number, too."
            )
    return None


def _by_preference(images: Sequence[WimImage], editions: Sequence[str], edition_ids: Sequence[str]) -> WimImage | None:
    for edition in editions:
        for image in images:
            if edition.casefold() in {image.display_name.casefold(), image.name.casefold()}:
                return image
    for edition_id in edition_ids:
        found = [image for image in images if image.edition_id.casefold() == edition_id.casefold()]
        # Servers have one id with and without a desktop; without one the installation type is 'Server Core'.
        if found:
            return min(found, key=lambda image: image.installation_type.endswith("Core"))
    return None


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _described(images: Sequence[WimImage]) -> str:
    return ", ".join(f"{image.index}: '{image.display_name}' ({image.edition_id or 'no edition'})" for image in images)
