"""Traffic: whole hosts that the harness plays on a link, and builders for frames that no honest host would send."""

from __future__ import annotations

from harness.traffic.station import Station, TrafficCounters
from harness.traffic.stations import Stations
from harness.traffic.tcp import TcpConnection, TcpError, TcpListener
from harness.traffic.udp import Datagram, UdpSocket

__all__ = [
    "Datagram",
    "Station",
    "Stations",
    "TcpConnection",
    "TcpError",
    "TcpListener",
    "TrafficCounters",
    "UdpSocket",
]
