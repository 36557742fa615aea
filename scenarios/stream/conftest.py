"""A connection between the guest and a station, and what is to become of what is sent over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from harness.driver.interface import StreamDirection
from harness.waiting import Deadline

STATION = "198.51.100.5"
SERVER = f"{STATION}:80"
STATIONS = {4: STATION, 6: "2001:db8:99::5"}


@pytest.fixture
def server(stations):
    """A station that listens at the address all connects of these scenarios go to."""
    return stations.add(STATION).tcp_listen(80)


@dataclass(frozen=True)
class Conversation:
    """Both ends of a connection, the guest's first."""

    client: Any
    connection: Any

    def carry(self, direction: StreamDirection, text: bytes, *, pieces: int) -> bytes:
        """Send one way in pieces, close that way, and give back what the other end read until its end."""
        client, connection = self.client, self.connection
        if direction is StreamDirection.OUT:
            for at in range(0, len(text), pieces):
                client.send(text[at : at + pieces])
            client.shutdown()
            read = connection.receive_all(Deadline(60))
            connection.close()
        else:
            for at in range(0, len(text), pieces):
                connection.send(text[at : at + pieces])
            connection.close()
            read = b""
            while part := client.receive(seconds=60):
                read += part
        client.close()
        connection.wait_closed(Deadline(60))
        return read


@pytest.fixture
def converse(probe, stations):
    """Connect to the station of IPv4 or IPv6 (`version`)."""

    def begin(version: int) -> Conversation:
        address = STATIONS[version]
        server = stations.add(address).tcp_listen(80)
        client = probe.tcp_connect(f"[{address}]:80" if version == 6 else f"{address}:80", seconds=20).require()
        return Conversation(client, server.wait_for_connection(Deadline(20)))

    return begin
