"""What a killed run left behind, and its removal; machines of runs that are alive are never touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

import libvirt
from lxml import etree

from harness import steps
from harness.config import project_root, state_root
from harness.config.directories import cache_root
from harness.errors import HostError
from harness.hypervisor.connection import connect
from harness.hypervisor.qemu_process import domain_of, end_process
from harness.hypervisor.state import DOMAIN_PREFIX, HALF_MADE, MachineState
from harness.ownership import OWNER_NAMESPACE, Owner, abandoned_folders, abandoned_programs, end_abandoned

Kind = Literal["process", "domain", "qemu", "state", "temporary"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing to remove: its kind, a name for people, and how."""

    kind: Kind
    name: str
    remove: Callable[[], None]


def find(connection: libvirt.virConnect, *, root: Path | None = None, temporary: Path | None = None) -> list[Leftover]:
    """All that ended runs left: programs, domains, QEMUs unknown to libvirt, state folders, temporary folders.

    In an order in which they can be removed.
    """
    root = root or state_root()
    programs = {pid: (domain_of(pid), name) for pid, name in abandoned_programs()}
    found = [
        Leftover("process", f"{name} (pid {pid})", partial(end_abandoned, pid))
        for pid, (domain, name) in programs.items()
        if domain is None
    ]
    known: set[str] = set()
    for each in connection.listAllDomains():
        name = each.name()
        known.add(name)
        if name.startswith(DOMAIN_PREFIX) and not _is_alive(_owner_of(each)):
            found.append(Leftover("domain", name, partial(_remove_domain, each)))
    for pid, (domain, _) in programs.items():
        if domain is not None and domain not in known:
            found.append(Leftover("qemu", f"{domain} (pid {pid})", partial(end_process, pid, domain)))
    for folder in sorted([*root.glob(f"{DOMAIN_PREFIX}*"), *root.glob(f"{HALF_MADE}*")]):
        state = MachineState(folder)
        record = state.record()
        owner = record[0] if record is not None else Owner.of_mark(folder.name.removeprefix(HALF_MADE))
        if owner is None or not owner.is_alive():
            found.append(Leftover("state", str(folder), state.remove))
    for place in [temporary] if temporary is not None else _temporary_places():
        found += [Leftover("temporary", str(each), partial(_remove_folder, each)) for each in abandoned_folders(place)]
    return found


def _temporary_places() -> list[Path]:
    return [Path(gettempdir()), cache_root() / "media", project_root() / "drivers" / "build" / "signed"]


def clean(uri: str | None = None, *, root: Path | None = None) -> list[Leftover]:
    """Find and remove; gives back what was removed.

    Raises HostError, after the rest was removed, for what could not be.
    """
    connection = connect(uri)
    try:
        removed: list[Leftover] = []
        refused: list[str] = []
        for leftover in find(connection, root=root):
            try:
                leftover.remove()
            except (libvirt.libvirtError, OSError, HostError) as error:
                refused.append(f"{leftover.kind} {leftover.name}: {error}")
            else:
                steps.note(f"Removed {leftover.kind} {leftover.name}.")
                removed.append(leftover)
    finally:
        connection.close()
    if refused:
        raise HostError(f"Not all could be removed: {'; '.join(refused)}")
    return removed


def _owner_of(domain: libvirt.virDomain) -> Owner | None:
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, OWNER_NAMESPACE)
        node = etree.fromstring(text)
        return Owner(
            pid=int(node.get("pid", "")), started=int(node.get("started", "")), host_boot=node.get("host_boot", "")
        )
    except (libvirt.libvirtError, ValueError, etree.XMLSyntaxError):
        return None


def _is_alive(owner: Owner | None) -> bool:
    return owner is not None and owner.is_alive()


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(FileNotFoundError):  # it is gone, or another run takes it away at the same time
        shutil.rmtree(folder)


def _remove_domain(domain: libvirt.virDomain) -> None:
    try:
        if domain.isActive():
            domain.destroy()
        if domain.isPersistent():
            domain.undefine()
    except libvirt.libvirtError as error:
        # A transient one is gone with its end, and another run may clear up at the same time.
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
