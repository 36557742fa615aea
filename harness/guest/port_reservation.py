"""Blocks of TCP or UDP ports of the guest that a socket gets by their token alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.guest.probe import ProbeClient


@dataclass(frozen=True, slots=True)
class PortReservation:
    """A persistent reservation: `count` ports from `first` on, in host byte order, and its token.

    See CreatePersistentTcpPortReservation, iphlpapi.h; a driver writes the token into FWPS_BIND_REQUEST0, fwpsk.h.
    """

    probe: ProbeClient
    protocol: str
    first: int
    count: int
    token: int

    @property
    def ports(self) -> range:
        """The ports."""
        return range(self.first, self.first + self.count)

    def delete(self) -> None:
        """Give the ports back; sockets that have them keep them."""
        self.probe.request("delete_ports", protocol=self.protocol, port=self.first, count=self.count)
