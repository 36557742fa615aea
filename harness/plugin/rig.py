"""What a bench stands on: one machine and the links to its test NICs, opened and thrown away together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.config import Profile
from harness.hypervisor import Machine, NicSpec, nic_mac, open_machine
from harness.images import Image
from harness.link import StreamLink
from harness.plugin.far import FarLink
from harness.plugin.options import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A machine that is not started yet, its link, and the one that it forwards into where it has two test NICs."""

    machine: Machine
    link: StreamLink
    far: FarLink | None


@contextmanager
def open_rig(options: RunOptions, profile: Profile, image: Image) -> Iterator[Rig]:
    """A new domain on a new overlay, with new links; all of it is gone after the block."""
    with ExitStack() as stack:
        link = stack.enter_context(StreamLink.listen())
        nics = [NicSpec(model=options.nic or profile.machine.nics[0], link_port=link.port)]
        far = None
        if profile.network.forward_ipv4 is not None and len(profile.machine.nics) > 1:
            far = FarLink(stack.enter_context(StreamLink.listen()), profile.network.forward_ipv4, guest_mac=nic_mac(1))
            nics.append(NicSpec(model=profile.machine.nics[1], link_port=far.link.port))
        machine = stack.enter_context(
            open_machine(profile, image, run_dir=options.machine_folder.absolute(), nics=nics)
        )
        yield Rig(machine=machine, link=link, far=far)
