"""Rights and room of a build: root's or those of an ordinary user's namespace, and folders that never stay behind."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import HarnessError, ImageBuildError
from harness.ownership import Owner, owner_of_folder
from harness.process import find_tool, run
from harness.steps import note
from harness.waiting import Deadline

_PREFIX = "wfp-hil-build-"
_REMOVE_SECONDS = 60.0

# Programs that mount things end with the harness, however it ends, and what they mounted ends with them.
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")
OWN_MOUNTS = ("--mount", "--pid", "--fork", "--kill-child", "--propagation=private")


def as_root() -> list[str]:
    """Words that make the rest of a command line run as root: of the host, or of an ordinary user's namespace.

    Root of that namespace is the user outside of it, so that it reads the user's files and its own are the user's.
    """
    return [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--map-auto"]


def check_namespaces() -> None:
    """An ordinary user needs a range of user numbers and the right to make user namespaces."""
    if find_tool("newuidmap") is None:
        raise ImageBuildError(
            "Building an image as an ordinary user needs the program 'newuidmap', which is not installed.",
            hint="'make setup' installs the Debian package 'uidmap'.",
        )
    user = pwd.getpwuid(os.geteuid()).pw_name
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        lines = path.read_text().splitlines() if path.is_file() else []
        if not any(line.split(":")[0] in (user, str(os.geteuid())) for line in lines):
            raise ImageBuildError(
                f"'{path}' gives the user '{user}' no range of numbers, which building an image needs.",
                hint=f"As root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
    done = run([*as_root(), "true"], check=False)
    if done.exit_code != 0:
        raise ImageBuildError(
            f"This host does not let the user '{user}' make a user namespace, which building an image needs: "
            f"{done.stderr.strip()}.",
            hint="See kernel.unprivileged_userns_clone and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns; "
            "or build as root.",
        )


def scratch_root() -> Path:
    """Where Debian is unpacked: $TMPDIR, else /var/tmp, which is a disk where /tmp may be memory."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")  # noqa: S108 - mkdtemp makes the names there


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in which everybody may work, as root of a user's namespace is somebody else; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{Owner.this_process().mark}-", dir=scratch_root()))
    try:
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is free, the folder is in use
            folder.chmod(0o1777)
            yield folder
    finally:
        remove_tree(folder)


def remove_abandoned() -> list[Path]:
    """Remove the scratch folders of builds of this user that were killed; gives back what was removed."""
    removed = []
    for folder in sorted(scratch_root().glob(f"{_PREFIX}*")):
        with suppress(OSError):
            if folder.stat().st_uid != os.geteuid():
                continue
            owner = owner_of_folder(folder)
            if owner is not None and owner.is_alive():  # it may not have come to take the lock yet
                continue
            with (folder / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
            removed.append(folder)
    return removed


def remove_tree(folder: Path) -> None:
    """Remove a folder, with what users of this user's namespace made in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and os.geteuid() != 0:
        try:
            run([*as_root(), "rm", "-rf", folder], deadline=Deadline(_REMOVE_SECONDS), check=False)
        except HarnessError as error:
            note(f"'{folder}' could not be removed: {error.message}")
