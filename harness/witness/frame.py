"""One frame that the witness saw: what can be asked of it, dissected only when it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from scapy.packet import Packet

from harness.link import Direction
from harness.link.headers import (
    ETH_ARP,
    PROTOCOL_NAMES,
    IpPacket,
    TcpSegment,
    address_text,
    endpoint_text,
    ether_type,
    parse_ip,
    parse_tcp,
)

_FLAG_LETTERS = "FSRPAU"


def _end(address: str, port: int) -> str:
    return endpoint_text(address, port) if port else address


@dataclass(frozen=True)
class WitnessedFrame:
    """A frame: `number` counts from 1 as in the capture file, `time` is monotonic seconds, `epoch` the link's.

    `fate` is what an impaired wire did to it, in words; it begins with "lost" of one that did not arrive.
    `called` is what one is called in failures and on the timeline, where several links have a frame of its number.
    """

    number: int
    time: float
    direction: Direction
    raw: bytes
    comment: str
    epoch: int
    fate: str = ""
    called: str = "frame"

    @cached_property
    def packet(self) -> Packet:
        """The frame as Scapy dissects it."""
        from scapy.layers.l2 import Ether

        return Ether(self.raw)

    @cached_property
    def ip(self) -> IpPacket | None:
        """Its IP packet, if it has one."""
        return parse_ip(self.raw)

    @cached_property
    def tcp(self) -> TcpSegment | None:
        """Its TCP segment, if it has one."""
        return parse_tcp(self.ip) if self.ip is not None else None

    @cached_property
    def proto(self) -> str:
        """`tcp`, `udp`, `icmp`, `icmpv6`, `arp`, or the number of the protocol or EtherType."""
        if self.ip is not None:
            return PROTOCOL_NAMES.get(self.ip.protocol, f"ip-{self.ip.protocol}")
        kind = ether_type(self.raw)
        return "arp" if kind == ETH_ARP else f"ethertype-0x{kind:04x}"

    @cached_property
    def src(self) -> str | None:
        """Source address."""
        return address_text(self.ip.source) if self.ip is not None else None

    @cached_property
    def dst(self) -> str | None:
        """Destination address."""
        return address_text(self.ip.destination) if self.ip is not None else None

    @property
    def sport(self) -> int:
        """Source port, 0 where there is none."""
        return self.ip.ports[0] if self.ip is not None else 0

    @property
    def dport(self) -> int:
        """Destination port, 0 where there is none."""
        return self.ip.ports[1] if self.ip is not None else 0

    @property
    def payload(self) -> bytes:
        """What follows the transport header; empty for anything but IP."""
        return self.ip.payload if self.ip is not None else b""

    @cached_property
    def flags(self) -> str:
        """TCP flags by Scapy's letters in the order of their bits, such as `SA`; empty for anything else."""
        flags = self.tcp.flags if self.tcp is not None else 0
        return "".join(letter for bit, letter in enumerate(_FLAG_LETTERS) if flags >> bit & 1)

    @property
    def trouble(self) -> str | None:
        """None when every length and checksum is right, else what is wrong."""
        return self.ip.trouble if self.ip is not None else None

    def __str__(self) -> str:
        """One line, as failures show it."""
        if self.ip is None:
            what = f"{self.proto}, {len(self.raw)} bytes"
        else:
            ends = tuple(
                _end(address, port) for address, port in ((self.src or "?", self.sport), (self.dst or "?", self.dport))
            )
            flags = f" [{self.flags}]" if self.flags else ""
            what = f"{self.proto} {ends[0]} > {ends[1]}{flags} {len(self.payload)} bytes of payload"
        trouble = "".join(f" ({words})" for words in (self.trouble, self.fate) if words)
        return f"#{self.number} {self.direction} {what}{trouble}"
