"""A connection between the guest and a station, and what is to become of what is sent over it."""

from __future__ import annotations

import pytest

from harness.driver.interface import StreamDirection
from harness.waiting import Deadline

STATION = "198.51.100.5"
SERVER = f"{STATION}:80"


@pytest.fixture
def server(stations):
    """A station that listens at the address all connects of these scenarios go to."""
    return stations.add(STATION).tcp_listen(80)


@pytest.fixture
def converse(probe, server):
    """Connect, send one way in pieces, close that way, and give back what the other end read until its end."""

    def run(direction: StreamDirection, text: bytes, *, pieces: int) -> bytes:
        client = probe.tcp_connect(SERVER, seconds=20).require()
        connection = server.wait_for_connection(Deadline(20))
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

    return run
