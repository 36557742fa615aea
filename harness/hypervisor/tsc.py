"""The rate of this host's time stamp counter, told to a guest that QEMU emulates.

Under TCG the guest's counter is the host's. A Linux guest measures its rate while it boots; on a busy host that came
out ten times too low once, and the guest's clock ran ten times too fast.
"""

from __future__ import annotations

import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_BASE_FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq/base_frequency")


def tsc_khz(cpuinfo: Path = _CPUINFO, base_frequency: Path = _BASE_FREQUENCY) -> int | None:
    """Thousands of ticks a second; None where the host does not say, and the guest has to measure.

    A host that is a virtual machine shows the counter's rate as "cpu MHz"; a real one shows the present clock there,
    but its nominal frequency is within one per cent of the counter's rate, and Linux refines what is as near as that.
    """
    try:
        return int(base_frequency.read_text())
    except (OSError, ValueError):
        pass
    try:
        first = cpuinfo.read_text().split("\n\n", 1)[0]
    except OSError:
        return None
    flags = re.search(r"^flags\s*:(.*)$", first, re.MULTILINE)
    rate = re.search(r"^cpu MHz\s*:\s*(\d+)\.(\d{3})$", first, re.MULTILINE)
    if flags is None or rate is None or not {"hypervisor", "tsc"} <= set(flags[1].split()):
        return None
    return int(rate[1]) * 1000 + int(rate[2])
