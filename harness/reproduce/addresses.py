"""Which address of the link stands for an address of the capture.

The guest's becomes that of the guest; every other host keeps its own, behind the gateway, as drivers may go by
addresses. Only what cannot be reached there gets another: what is the link's own, loopback and link-local addresses.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from itertools import count

from harness.link.headers import address_text
from harness.reproduce.departures import Departures
from harness.reproduce.hosts import is_host

# For benchmarks of network devices (RFC 2544, RFC 5180): no host of a capture should have them.
_SPARE = {4: int(ipaddress.IPv4Address("198.18.0.0")), 16: int(ipaddress.IPv6Address("2001:2::"))}


@dataclass(frozen=True, slots=True)
class LinkAddresses:
    """What the link has of its own: the guest's address of each family, packed, and networks that nobody may use."""

    guest4: bytes
    guest6: bytes
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    def guest(self, length: int) -> bytes:
        """The guest's address of the family that has addresses of `length` bytes."""
        return self.guest4 if length == 4 else self.guest6


@dataclass(slots=True)
class AddressMap:
    """Addresses of the capture to those of the link."""

    link: LinkAddresses
    guests: frozenset[bytes]
    departures: Departures
    _given: dict[bytes, bytes] = field(default_factory=dict)
    _spare: dict[int, count[int]] = field(default_factory=lambda: {4: count(1), 16: count(1)})

    def is_guest(self, packed: bytes) -> bool:
        """Whether this address of the capture is the guest's."""
        return packed in self.guests

    def to_link(self, packed: bytes) -> bytes:
        """The address on the link for one of the capture."""
        if packed in self.guests:
            return self.link.guest(len(packed))
        known = self._given.get(packed)
        if known is None:
            known = self._given[packed] = self._find(packed)
        return known

    def _find(self, packed: bytes) -> bytes:
        address = ipaddress.ip_address(packed)
        taken = any(address.version == network.version and address in network for network in self.link.networks)
        if not is_host(packed) or not (taken or address.is_loopback or address.is_link_local):
            return packed
        found = (_SPARE[len(packed)] + next(self._spare[len(packed)])).to_bytes(len(packed), "big")
        self.departures.tell(
            f"The host {address_text(packed)} has the address {address_text(found)}, "
            "as its own cannot be used on the link."
        )
        return found
