"""The second link: the network that the guest forwards into."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from harness.link import StreamLink
from harness.traffic import Stations
from harness.waiting import Deadline
from harness.witness import Witness

if TYPE_CHECKING:
    from harness.plugin.impairing import Impair


class FarLink:
    """The link behind the second test NIC, and the hosts on it, for as long as the bench is open."""

    def __init__(self, link: StreamLink, own: IPv4Interface, *, guest_mac: str) -> None:
        self.link = link
        last = own.network.broadcast_address - 1
        self.stations = Stations(
            link, guest_mac=guest_mac, guest_ip=str(own.ip), gateway=str(last), prefix=own.network.prefixlen
        )

    def ping(self, deadline: Deadline) -> object:
        """One round trip by ARP: the guest itself talks to nobody there."""
        return self.stations.arp_ping(deadline)


@dataclass(frozen=True, slots=True)
class Far:
    """The second link as a scenario has it."""

    stations: Stations
    witness: Witness
    impair: Impair
