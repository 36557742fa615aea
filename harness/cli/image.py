"""`wfp-hil image`: build, list and remove guest images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.clean import clear_up
from harness.cli.progress import show_steps
from harness.errors import UsageError

app = typer.Typer(help="Guest images.", no_args_is_help=True)


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="A folder under vm-images.")],
    rebuild: Annotated[bool, typer.Option(help="Build even when the cached image is up to date.")] = False,
    iso: Annotated[Path | None, typer.Option(help="The installation medium, for a guest that is installed.")] = None,
    virtio_iso: Annotated[Path | None, typer.Option(help="virtio-win's drivers for Windows.")] = None,
    openssh: Annotated[
        Path | None, typer.Option(help="Win32-OpenSSH, .zip or .msi, instead of Windows Update.")
    ] = None,
    edition: Annotated[str | None, typer.Option(help="Name of the image on the medium.")] = None,
    product_key: Annotated[str | None, typer.Option(help="For a medium that asks for one.")] = None,
    slow: Annotated[bool, typer.Option("--slow", help="Go on without KVM.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Do not go on with an unfinished installation.")] = False,
) -> None:
    """Build an image, or find it in the cache when none of its inputs changed.

    A guest that is installed from a medium takes --iso; interrupted, the same command goes on with it.
    """
    from harness.images import ensure
    from harness.images.installed import build_command, installed_profile

    profile = installed_profile(name)
    if profile is not None and (iso is not None or rebuild):
        from harness.cli.installing import show_installation
        from harness.images.install.build import install_image

        if iso is None:
            raise UsageError(f"'{name}' is installed from a medium.", hint=build_command(name))
        with show_installation() as on_view:
            clear_up()
            image = install_image(
                profile, iso, virtio_iso=virtio_iso, openssh=openssh, edition=edition, product_key=product_key,
                slow=slow, restart=restart or rebuild, on_view=on_view,
            )  # fmt: skip
        print(f"image: {image.path} ({image.disk.stat().st_size / 1e6:.0f} MB)")
        return
    asked: dict[str, object] = {"--iso": iso, "--virtio-iso": virtio_iso, "--openssh": openssh, "--edition": edition}
    asked |= {"--product-key": product_key, "--slow": slow, "--restart": restart}
    given = [word for word, value in asked.items() if value]
    if profile is None and given:
        raise UsageError(
            f"'{name}' is not installed from a medium, so {given[0]} means nothing to it.",
            hint=f"'wfp-hil image build {name}' builds it.",
        )
    with show_steps(max_depth=2):
        image = ensure(name, rebuild=rebuild)
    print(f"image: {image.path} ({image.disk.stat().st_size / 1e6:.0f} MB)")


@app.command(name="list")
def list_all() -> None:
    """The images in the cache, newest first; 'current' are those that this checkout makes or uses now.

    Below them the installations that are not finished: one that 'goes on' does so by the command that began it.
    """
    from harness.images import list_images, wanted_hashes
    from harness.images.install.resume import find_unfinished

    wanted = wanted_hashes()
    images = list_images()
    for image in images:
        current = "current" if image.hash in wanted else "older"
        size = image.disk.stat().st_size / 1e6
        print(f"{current:8} built {image.manifest['built']}  {size:5.0f} MB  {image.path}")
    for unfinished in find_unfinished():
        record = unfinished.record
        reached = record.reached[-1] if record.reached else "nothing"
        state = "goes on" if unfinished.can_go_on else "failed" if record.failure else "begun"
        print(f"{state:8} after {record.elapsed / 60:.0f} minutes, reached '{reached}': {unfinished.folder}")
    if not images:
        print("There are no images yet: 'wfp-hil image build reference' makes one.")


@app.command()
def prune() -> None:
    """Remove the images that no recipe of this checkout makes any more, and what killed and failed builds left."""
    from harness.hypervisor.state import live_machines
    from harness.images import remove_stale, wanted_hashes
    from harness.images.install.resume import remove_hopeless

    live = live_machines()
    if live:
        raise UsageError(
            f"The machine '{live[0]}' runs and may use an image that is to go.", hint="Prune when no run is going."
        )
    removed = [*remove_stale(wanted_hashes()), *remove_hopeless()]
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
