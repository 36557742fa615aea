"""Images of guests: built once, kept by the hash of what they are made from, verified before use."""

from __future__ import annotations

from pathlib import Path

from harness.images.base import write_lock
from harness.images.build import build_image
from harness.images.cache import (
    Image,
    build_lock,
    images_root,
    list_images,
    load_image,
    remove_broken_builds,
    remove_stale,
)
from harness.images.installed import find_installed, installed_profile, newest_installed
from harness.images.recipe import load_recipe, load_recipes
from harness.steps import step
from harness.waiting import Deadline

__all__ = [
    "Image",
    "check_image",
    "ensure",
    "list_images",
    "lock_packages",
    "remove_broken_builds",
    "remove_stale",
    "wanted_hash",
    "wanted_hashes",
]


def ensure(name: str, *, rebuild: bool = False) -> Image:
    """The image of this name for the files as they are now, built first where the cache has none.

    One that is installed from a medium has to be there already. Raises UsageError when there is no such recipe or
    image, and ImageBuildError when it cannot be built.
    """
    profile = installed_profile(name)
    if profile is not None:
        return find_installed(profile)
    recipe = load_recipe(name)
    wanted = recipe.image_hash()
    path = images_root() / f"{name}-{wanted}"
    with step(f"image '{name}'", hash=wanted):
        if not rebuild and (image := load_image(path)):
            return image
        with build_lock(name):
            # Whoever held the lock before may have built it.
            if not rebuild and (image := load_image(path)):
                return image
            return build_image(recipe, wanted)


def check_image(name: str) -> None:
    """Raise UsageError, with the command that makes it, when `ensure` would find neither an image nor a recipe."""
    profile = installed_profile(name)
    if profile is not None:
        find_installed(profile)
    else:
        load_recipe(name)


def lock_packages(name: str) -> tuple[Path, int]:
    """Lock the newest versions of an image's packages; gives back the lock and how many packages it names."""
    recipe = load_recipe(name)
    with build_lock(name):
        return recipe.lock, write_lock(recipe, Deadline(1800))


def wanted_hash(name: str) -> str:
    """Hash of the image that a run on this guest would take now, whether it is built or not.

    Of one that is installed from a medium, the newest that is there; '' when there is none, or no recipe either.
    """
    profile = installed_profile(name)
    if profile is not None:
        return next((image.hash for image in list_images() if image.name == name), "")
    recipe = next((recipe for recipe in load_recipes() if recipe.name == name), None)
    return recipe.image_hash() if recipe is not None else ""


def wanted_hashes() -> frozenset[str]:
    """Hashes of the images that the recipes of this checkout make now, and of the newest installed ones."""
    return frozenset(recipe.image_hash() for recipe in load_recipes()) | newest_installed()
