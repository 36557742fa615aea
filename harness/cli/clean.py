"""`wfp-hil clean`: end and remove what killed runs and builds left behind."""

from __future__ import annotations

from harness.cli.progress import show_steps
from harness.errors import HostError
from harness.steps import note


def clean() -> None:
    """Remove machines, processes and files that runs and image builds which are no longer alive left behind."""
    from harness.hypervisor import leftovers
    from harness.images import remove_broken_builds

    with show_steps():
        builds = remove_broken_builds()
        for path in builds:
            print(f"removed: unfinished build {path}")
        removed = leftovers.clean()
    count = len(builds) + len(removed)
    print(
        f"clean: {count} {'thing' if count == 1 else 'things'} removed" if count else "clean: nothing was left behind"
    )


def clear_up() -> None:
    """Take away what a killed run left; what cannot be taken away is no reason not to go on."""
    from harness.hypervisor import leftovers

    try:
        leftovers.clean()
    except HostError as error:
        note(error.message)
