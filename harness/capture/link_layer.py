"""Taking the link layer off: Ethernet with VLAN tags and PPPoE, Linux cooked, loopback, raw IP.

Link types by their numbers in the registry of tcpdump (https://www.tcpdump.org/linktypes.html).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.link.headers import ETH_ARP, ETH_IPV4, ETH_IPV6

_VLANS = (0x8100, 0x88A8, 0x9100)
_PPPOE = 0x8864
_PPP = {0x0021: ETH_IPV4, 0x0057: ETH_IPV6}
_IP = (ETH_IPV4, ETH_IPV6)
_NAMES = {ETH_ARP: "ARP", 0x88CC: "LLDP", 0x888E: "802.1X", 0x8863: "PPPoE discovery"}
# Address families of NULL and LOOP: 2 is IPv4 everywhere, IPv6 has one number for each family of systems.
_FAMILIES = {2: ETH_IPV4, 10: ETH_IPV6, 24: ETH_IPV6, 28: ETH_IPV6, 30: ETH_IPV6}
_OUTGOING = 4  # packet type of Linux cooked captures
_LEAST_ETHER_TYPE = 0x600


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What a frame holds: an IP packet in `data`, or `other`, the name of what it is instead."""

    data: bytes = b""
    other: str = ""
    outgoing: bool | None = None
    source_mac: bytes = b""
    vlans: tuple[int, ...] = ()


def _by_type(kind: int, body: bytes) -> Unwrapped:
    """What an EtherType and what follows it are, once the tags are off."""
    vlans: tuple[int, ...] = ()
    while kind in _VLANS and len(body) >= 4:
        vlans += (int.from_bytes(body[:2], "big") & 0xFFF,)
        kind, body = int.from_bytes(body[2:4], "big"), body[4:]
    if kind == _PPPOE and len(body) >= 8:
        kind, body = _PPP.get(int.from_bytes(body[6:8], "big"), kind), body[8:]
    if kind not in _IP:
        name = "LLC" if kind < _LEAST_ETHER_TYPE else f"EtherType 0x{kind:04x}"
        return Unwrapped(other=_NAMES.get(kind, name), vlans=vlans)
    return Unwrapped(data=body, vlans=vlans)


def _ethernet(frame: bytes) -> Unwrapped:
    inner = _by_type(int.from_bytes(frame[12:14], "big"), frame[14:])
    return Unwrapped(inner.data, inner.other, None, frame[6:12], inner.vlans)


def _raw(frame: bytes) -> Unwrapped:
    return Unwrapped(data=frame)


def _null(frame: bytes) -> Unwrapped:
    """NULL: the family in the byte order of the capturing host, which is not told."""
    little, big = int.from_bytes(frame[:4], "little"), int.from_bytes(frame[:4], "big")
    family = little if little in _FAMILIES else big
    return Unwrapped(data=frame[4:]) if family in _FAMILIES else Unwrapped(other=f"address family {family}")


def _cooked(frame: bytes) -> Unwrapped:
    outgoing = int.from_bytes(frame[:2], "big") == _OUTGOING
    inner = _by_type(int.from_bytes(frame[14:16], "big"), frame[16:])
    return Unwrapped(inner.data, inner.other, outgoing, _mac(frame[4:6], frame[6:14]), inner.vlans)


def _cooked_2(frame: bytes) -> Unwrapped:
    inner = _by_type(int.from_bytes(frame[:2], "big"), frame[20:])
    mac = _mac(b"\0" + frame[11:12], frame[12:20])
    return Unwrapped(inner.data, inner.other, frame[10] == _OUTGOING, mac, inner.vlans)


def _mac(length: bytes, field: bytes) -> bytes:
    return field[:6] if int.from_bytes(length, "big") == 6 else b""


# Link type: how to take it off, and how long its header is at least.
_LAYERS: dict[int, tuple[Callable[[bytes], Unwrapped], int]] = {
    0: (_null, 4),
    1: (_ethernet, 14),
    12: (_raw, 0),  # DLT_RAW of some systems
    14: (_raw, 0),  # and of others
    101: (_raw, 0),
    108: (_null, 4),
    113: (_cooked, 16),
    228: (_raw, 0),
    229: (_raw, 0),
    276: (_cooked_2, 20),
}
KNOWN = "Ethernet (1), raw IP (101, 228, 229), Linux cooked (113, 276), loopback (0, 108)"


def unwrap(link_type: int, frame: bytes) -> Unwrapped:
    """What a frame of this link type holds. A frame may be anything: what cannot be read is said to be no IP."""
    layer = _LAYERS.get(link_type)
    if layer is None:
        return Unwrapped(other=f"link type {link_type}")
    take_off, least = layer
    if len(frame) < least:
        return Unwrapped(other="a frame shorter than its header")
    return take_off(frame)
