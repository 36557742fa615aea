"""One packet of a capture: an IP packet, without the link layer that carried it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.link.headers import ETH_IPV4, ETH_IPV6, IpPacket, TcpSegment, parse_ip, parse_tcp

_NO_MACS = bytes(12)


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet as it was captured.

    `number` is its place in the file, counted from 1 as Wireshark does; `time` is in nanoseconds since 1970. `data`
    begins with the IP header and ends with the packet (padding of the link layer is gone); `length` is what it had on
    the wire, more than `data` holds where the capture cut it. `outgoing` says whether the capturing host sent it, None
    where the file does not tell; `source_mac` is empty where the link layer has none.
    """

    number: int
    time: int
    data: bytes
    length: int
    outgoing: bool | None = None
    source_mac: bytes = b""

    @property
    def is_cut(self) -> bool:
        """Whether the capture holds less of it than was on the wire."""
        return len(self.data) < self.length

    @property
    def frame(self) -> bytes:
        """The packet in an Ethernet frame without addresses, as what reads and takes frames wants it."""
        kind = ETH_IPV6 if self.data[:1] and self.data[0] >> 4 == 6 else ETH_IPV4
        return _NO_MACS + kind.to_bytes(2, "big") + self.data

    @property
    def ip(self) -> IpPacket | None:
        """Its headers and its body; None when not even the IP header can be read."""
        return parse_ip(self.frame)

    @property
    def tcp(self) -> TcpSegment | None:
        """Its TCP segment, if it holds one with a whole header."""
        packet = self.ip
        return parse_tcp(packet) if packet is not None else None
