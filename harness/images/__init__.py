"""Images of guests: built once, kept by the hash of what they are made from, verified before use."""

from __future__ import annotations

from harness.images.build import build_image
from harness.images.cache import Image, build_lock, images_root, list_images, load_image, remove_stale
from harness.images.recipe import load_recipe
from harness.steps import step

__all__ = ["Image", "ensure", "list_images", "remove_stale"]


def ensure(name: str, *, rebuild: bool = False) -> Image:
    """The image of this name for the files as they are now, built first where the cache has none.

    Raises UsageError when there is no such recipe and ImageBuildError when it cannot be built.
    """
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
