"""`wfp-hil image`: build, list and remove guest images."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.progress import show_steps

app = typer.Typer(help="Guest images.", no_args_is_help=True)


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="A folder under vm-images.")],
    rebuild: Annotated[bool, typer.Option(help="Build even when the cached image is up to date.")] = False,
) -> None:
    """Build an image, or find it in the cache when none of its inputs changed."""
    from harness.images import ensure

    with show_steps(max_depth=2):
        image = ensure(name, rebuild=rebuild)
    print(f"image: {image.path} ({image.disk.stat().st_size / 1e6:.0f} MB)")


@app.command(name="list")
def list_all() -> None:
    """The images in the cache."""
    from harness.images import list_images

    for image in list_images():
        print(f"{image.path}  {image.disk.stat().st_size / 1e6:.0f} MB")


@app.command()
def lock(name: Annotated[str, typer.Argument(help="A folder under vm-images.")]) -> None:
    """Lock the image's packages at the versions that its Debian release has now."""
    from harness.images import lock_packages

    with show_steps(max_depth=2):
        path, count = lock_packages(name)
    print(f"lock: {path} ({count} packages)")
