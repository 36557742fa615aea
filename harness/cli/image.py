"""`wfp-hil image`: build, list and remove guest images."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.progress import show_steps
from harness.errors import UsageError

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
    """The images in the cache, newest first; 'current' are those that this checkout's recipes make now."""
    from harness.images import list_images, wanted_hashes

    wanted = wanted_hashes()
    images = list_images()
    for image in images:
        current = "current" if image.hash in wanted else "older"
        size = image.disk.stat().st_size / 1e6
        print(f"{current:8} built {image.manifest['built']}  {size:5.0f} MB  {image.path}")
    if not images:
        print("There are no images yet: 'wfp-hil image build reference' makes one.")


@app.command()
def prune() -> None:
    """Remove the images that no recipe of this checkout makes any more, and what killed builds left."""
    from harness.hypervisor.state import live_machines
    from harness.images import remove_stale, wanted_hashes

    live = live_machines()
    if live:
        raise UsageError(
            f"The machine '{live[0]}' runs and may use an image that is to go.", hint="Prune when no run is going."
        )
    removed = remove_stale(wanted_hashes())
    for path in removed:
        print(f"removed: {path}")
    if not removed:
        print("There is nothing to remove.")


@app.command()
def lock(name: Annotated[str, typer.Argument(help="A folder under vm-images.")]) -> None:
    """Lock the image's packages at the versions that its Debian release has now."""
    from harness.images import lock_packages

    with show_steps(max_depth=2):
        path, count = lock_packages(name)
    print(f"lock: {path} ({count} packages)")
