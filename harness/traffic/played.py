"""Hosts whose part somebody else plays: they are found on the link as any station, and answer nothing by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.link.headers import IpPacket
from harness.traffic.station import Station

if TYPE_CHECKING:
    from harness.traffic.station import Network

Receiver = Callable[[IpPacket], None]
"""Called on the link's thread with each sound packet for a played host, fragments of IPv4 put together."""


class PlayedHost(Station):
    """A host that answers ARP and neighbour solicitations; everything else goes to its player."""

    def __init__(self, network: Network, address: bytes, mac: bytes, receive: Receiver) -> None:
        super().__init__(network, address, mac)
        self._receive = receive

    def deliver(self, packet: IpPacket) -> None:
        """Hand over a packet that was addressed to this host."""
        self._receive(packet)
