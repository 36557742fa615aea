"""`wfp-hil clean`: end and remove what killed runs left behind."""

from __future__ import annotations

from harness.cli.progress import show_steps


def clean() -> None:
    """Remove machines, processes and files that runs which are no longer alive left behind."""
    from harness.hypervisor import leftovers

    with show_steps():
        leftovers.clean()
