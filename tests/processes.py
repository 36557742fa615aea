"""Whether a process of a test still runs."""

from pathlib import Path


def is_running(pid: int) -> bool:
    """False once the process has ended, whether or not anybody has waited for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not there, or (ESRCH) gone between open and read
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"
