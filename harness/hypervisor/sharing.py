"""Files of a guest that nobody on this host may read but their owner and QEMU: the guest's own secrets lie in them."""

from __future__ import annotations

import grp
import os
from pathlib import Path

# The group that Debian gives to the user libvirt's system daemon runs QEMU as, and to nobody else.
QEMU_GROUP = "libvirt-qemu"


def keep_private(path: Path) -> None:
    """Take a file from all other users; of root's also QEMU's group may read and write it.

    Where root's QEMU runs as another user than Debian's the file stays as it is, or QEMU could not read it.
    """
    if os.geteuid() != 0:
        path.chmod(0o600)
        return
    try:
        group = grp.getgrnam(QEMU_GROUP).gr_gid
    except KeyError:
        return
    os.chown(path, -1, group)
    path.chmod(0o660)
