"""Names of files that a guest gives, as names on this host."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST = 100


def local_name(remote: str) -> str:
    """A name within a folder of ours for a file of the guest's: its last part, of plain letters, never hidden.

    Begins with `guest-` where it is not a name that could do no harm: a guest may call its file `..` or `serial.log`.
    """
    last = PureWindowsPath(remote).name
    plain = _UNFIT.sub("_", last)[-_LONGEST:].strip(".")
    return plain if plain == last and plain.upper().endswith(".DMP") else f"guest-{plain or 'file'}"
