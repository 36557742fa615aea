"""The station that the connections of these scenarios go to."""

from __future__ import annotations

import pytest

STATION = "198.51.100.5"


@pytest.fixture
def server(stations):
    """A station that listens at the address all connects of these scenarios go to."""
    return stations.add(STATION).tcp_listen(80)
