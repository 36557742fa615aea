"""Who is at the other end of a loopback TCP connection: the kernel's word, not the peer's."""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
import sys
from contextlib import suppress
from pathlib import Path

from harness.errors import LinkError

_TABLE = Path("/proc/net/tcp")
_ESTABLISHED = "01"  # net/tcp_states.h


def default_uids() -> frozenset[int]:
    """Users that QEMU may run as: whoever runs the harness, and the user of libvirt's system daemon."""
    uids = {os.getuid()}
    with suppress(KeyError):
        uids.add(pwd.getpwnam("libvirt-qemu").pw_uid)
    return frozenset(uids)


def find_peer_uid(connection: socket.socket, table: Path = _TABLE) -> int | None:
    """User id that owns the socket at the other end of an IPv4 loopback connection, or None if it is gone.

    A socket that its owner has closed is nobody's: the kernel then prints 0, as if it were root's.
    """
    try:
        wanted = (_hexadecimal(connection.getpeername()), _hexadecimal(connection.getsockname()))
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except FileNotFoundError as missing:
        raise LinkError(
            f"'{table}' does not exist, so it cannot be told who connected to the link.", hint="Mount /proc."
        ) from missing
    except OSError:
        return None  # not connected any more
    for line in lines:
        words = line.split()
        if (words[1], words[2]) == wanted:
            return int(words[7]) if words[3] == _ESTABLISHED else None
    return None


def _hexadecimal(address: tuple[str, int]) -> str:
    # The kernel prints the address as a native integer of the bytes in network order, the port as a number.
    number = int.from_bytes(ipaddress.IPv4Address(address[0]).packed, sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"
