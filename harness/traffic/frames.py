"""Crafted frames: what no honest station would send, made with Scapy and sent through `link.send`.

Everything that is not given is filled in as an honest sender would; a wrong value that is given stays wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scapy.packet import Packet, Raw

GUEST_MAC = "52:54:00:77:66:10"
GATEWAY_MAC = "02:00:c0:00:02:01"


def ip(
    src: str, dst: str, body: Packet | bytes, *, dst_mac: str = GUEST_MAC, src_mac: str = GATEWAY_MAC, **fields: Any
) -> Packet:
    """An IPv4 or IPv6 packet in a frame; `fields` are those of Scapy's IP or IPv6, such as `ttl` or `flags`."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    kind = IPv6 if ":" in dst else IP
    payload = Raw(body) if isinstance(body, bytes) else body
    return Ether(src=src_mac, dst=dst_mac) / kind(src=src, dst=dst, **fields) / payload


def udp(src: str, dst: str, sport: int, dport: int, payload: bytes = b"", *, checksum: int | None = None) -> bytes:
    """A UDP datagram; a `checksum` that is given is not corrected."""
    from scapy.layers.inet import UDP

    return bytes(ip(src, dst, UDP(sport=sport, dport=dport, chksum=checksum) / Raw(payload)))


def tcp(
    src: str,
    dst: str,
    sport: int,
    dport: int,
    payload: bytes = b"",
    *,
    flags: str = "S",
    seq: int = 0,
    ack: int = 0,
    window: int = 65535,
    checksum: int | None = None,
) -> bytes:
    """A TCP segment outside of any conversation; a `checksum` that is given is not corrected."""
    from scapy.layers.inet import TCP

    head = TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, window=window, chksum=checksum)
    return bytes(ip(src, dst, head / Raw(payload)))


def fragments(packet: Packet, size: int = 1480) -> Sequence[bytes]:
    """The frames of an IPv4 packet that was cut into fragments of `size` payload bytes."""
    from scapy.layers.inet import fragment

    return [bytes(part) for part in fragment(packet, fragsize=size)]  # type: ignore[no-untyped-call]
