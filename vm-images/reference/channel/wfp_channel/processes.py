"""The guest's processes, from /proc."""

from __future__ import annotations

from pathlib import Path


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _pids() -> list[int]:
    return sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def find(name: str) -> list[int]:
    """Ids of the processes of this name (Linux keeps 15 characters of it) or of this id, by their age."""
    if name.isdigit():
        return [int(name)] if _comm(int(name)) else []
    return [pid for pid in _pids() if name and _comm(pid) == name[:15]]


def listed() -> list[dict[str, object]]:
    """All that have a program: id, name, state, and the ticks of processor time they have used."""
    found: list[dict[str, object]] = []
    for pid in _pids():
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
            if not Path(f"/proc/{pid}/maps").read_bytes()[:1]:
                continue  # a thread of the kernel's
        except OSError:
            continue
        fields = rest.split()
        found.append({"pid": pid, "name": name, "state": fields[0], "ticks": int(fields[11]) + int(fields[12])})
    return found


def drivers(pid: int) -> list[str]:
    """Names of the driver files that a process has mapped."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return []
    return sorted({line.rpartition("/")[2] for line in lines if line.endswith(".sys")})
