"""The management NIC: whether anybody listens there, and how it is put behind the filter engine.

By itself the management network of this guest does not pass the engine: what a driver under test blocks cannot hit it.
On Windows it can. `take_part` makes it so here: the address moves from the NIC to a TAP, and the engine carries the
frames between the two, as it does for the test NIC. It takes two phases, because between them a program of the guest
has to ask the engine to open both ends (IOCTL_WFPMODEL_MANAGEMENT).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from wfp_channel.line import Refused

PORT = 5986
NIC, TAP = "mgmt0", "wfpm"
_ADDRESS = "10.0.2.15/24"
_LISTEN = "0A"
_SECONDS = 10.0


def is_listening() -> bool:
    """Whether somebody listens on WinRM's port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{PORT:04X}") and words[3] == _LISTEN:
            return True
    return False


def take_part(phase: str) -> dict[str, Any]:
    """'prepare' makes the TAP; 'commit' moves the address, once the engine carries the frames."""
    if phase == "prepare":
        _prepare()
    elif phase == "commit":
        _commit()
    else:
        raise Refused("BadRequest", f"There is no phase '{phase[:60]}'.")
    return {}


def _prepare() -> None:
    mac = Path("/sys/class/net/test0/address").read_text().strip()
    _ip("tuntap add dev wfpm mode tap", f"link set {TAP} address {mac} mtu 1500")
    for key, value in (("accept_dad", "0"), ("accept_ra", "0"), ("disable_ipv6", "1")):
        _set(f"ipv6/conf/{TAP}/{key}", value)
    _set(f"ipv4/conf/{TAP}/rp_filter", "0")
    _run(
        "ethtool",
        "-K",
        NIC,
        "gro",
        "off",
        "lro",
        "off",
        "gso",
        "off",
        "tso",
        "off",
        "rx",
        "off",
        "tx",
        "off",
        check=False,
    )
    _ip(f"link set {TAP} up", f"link set {NIC} promisc on")


def _commit() -> None:
    # From here on the kernel itself hears nothing at the NIC, as at the test NIC: every route leads to the TAP.
    _set(f"ipv4/conf/{NIC}/rp_filter", "1")
    _set(f"ipv4/conf/{NIC}/arp_ignore", "8")
    _ip(f"address del {_ADDRESS} dev {NIC}", f"address add {_ADDRESS} dev {TAP}")


def _set(key: str, value: str) -> None:
    Path("/proc/sys/net", key).write_text(value)


def _ip(*lines: str) -> None:
    _run("ip", "-batch", "-", input="\n".join(lines) + "\n")


def _run(*words: str, input: str = "", check: bool = True) -> None:
    done = subprocess.run(words, input=input, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if check and done.returncode:
        raise Refused("Failed", f"'{' '.join(words)}' ended with exit code {done.returncode}: {done.stderr[-300:]}")
