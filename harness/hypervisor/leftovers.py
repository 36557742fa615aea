"""What a killed run left behind, and its removal; machines of runs that are alive are never touched."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

import libvirt
from lxml import etree

from harness import steps
from harness.config import state_root
from harness.errors import HostError
from harness.hypervisor.connection import connect
from harness.hypervisor.ownership import OWNER_NAMESPACE, Owner
from harness.hypervisor.state import DOMAIN_PREFIX, MachineState
from harness.waiting import Deadline, wait_for

Kind = Literal["domain", "qemu", "state", "temporary"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing to remove: its kind, a name for people, and how."""

    kind: Kind
    name: str
    remove: Callable[[], None]


def find(connection: libvirt.virConnect, *, root: Path | None = None, temporary: Path | None = None) -> list[Leftover]:
    """All that ended runs left: domains, QEMU processes unknown to libvirt, state folders, temporary folders.

    In an order in which they can be removed.
    """
    root = root or state_root()
    found: list[Leftover] = []
    known: set[str] = set()
    for domain in connection.listAllDomains():
        name = domain.name()
        known.add(name)
        if name.startswith(DOMAIN_PREFIX) and not _is_alive(_owner_of(domain)):
            found.append(Leftover("domain", name, lambda domain=domain: _remove_domain(domain)))  # type: ignore[misc]
    live: set[str] = set()
    folders: list[Leftover] = []
    for folder in sorted(root.glob(f"{DOMAIN_PREFIX}*")):
        state = MachineState(folder)
        record = state.record()
        if record is not None and record[0].is_alive():
            live.add(folder.name)
        else:
            folders.append(Leftover("state", str(folder), state.remove))
    for pid, name in _qemu_processes():
        if name not in known and name not in live:
            found.append(Leftover("qemu", f"{name} (pid {pid})", lambda pid=pid, name=name: _end_qemu(pid, name)))  # type: ignore[misc]
    found += folders
    for folder in sorted((temporary or Path(gettempdir())).glob("wfp-hil-probe-*")):
        if folder.stat().st_uid == os.geteuid() and not _used_by_qemu(folder):
            found.append(Leftover("temporary", str(folder), lambda folder=folder: shutil.rmtree(folder)))  # type: ignore[misc]
    return found


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


def _qemu_users() -> set[int]:
    """Users whose QEMUs the libvirt of this user looks after; another user's session has its own."""
    if os.geteuid() != 0:
        return {os.geteuid()}
    return {0} | {entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in ("libvirt-qemu", "qemu")}


def _qemu_processes() -> list[tuple[int, str]]:
    """Process number and domain name of every QEMU of ours on this host."""
    users = _qemu_users()
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [(pid, name) for pid in numbers if (name := _domain_of(pid)) and _user_of(pid) in users]


def _domain_of(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if b"qemu-system" not in words[0] or b"-name" not in words:
        return None
    value = words[words.index(b"-name") + 1].decode(errors="replace")
    name = value.split(",")[0].removeprefix("guest=")
    return name if name.startswith(DOMAIN_PREFIX) else None


def _user_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def _end_qemu(pid: int, name: str) -> None:
    if _domain_of(pid) != name:
        return  # it ended, and another program may have its number now
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: True if _domain_of(pid) is None else None, Deadline(10), f"QEMU with pid {pid} to end")


def _used_by_qemu(folder: Path) -> bool:
    wanted = os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False
