"""What commands do before they start a guest."""

from __future__ import annotations

from harness.cli.clean import clear_up
from harness.cli.progress import show_steps
from harness.config import Profile


def make_ready(profile: Profile) -> None:
    """libvirt answers, what killed runs left is taken away, and the image is there; raises HarnessError else."""
    from harness.hypervisor import connect
    from harness.images import ensure

    connect().close()
    with show_steps(max_depth=2):
        clear_up()
        ensure(profile.name)
