"""Scenarios in which the guest has nothing to do: what several machines on few cores can be measured with."""

from __future__ import annotations

import pytest

from harness.guest import ProbeClient, ProbeError

WAITED_SECONDS = 10.0


@pytest.mark.parametrize("turn", range(8))
def test_a_program_of_the_guest_waits(probe: ProbeClient, turn: int) -> None:  # noqa: ARG001
    """A program of the guest waits ten seconds for a datagram that does not come."""
    socket = probe.udp_open("0.0.0.0:0")

    with pytest.raises(ProbeError):
        socket.receive_from(seconds=WAITED_SECONDS)
