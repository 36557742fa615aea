from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from harness.link import MemoryLink
from harness.link.memory import Misbehaviour
from harness.traffic import Stations

GUEST_MAC = "02:00:c0:00:02:02"  # the MAC that the other side's station 192.0.2.2 has

Twins = tuple[Stations, Stations, MemoryLink, MemoryLink]
MakeTwins = Callable[..., Twins]


@pytest.fixture
def make_twins() -> Iterator[MakeTwins]:
    """Two sets of stations that are each other's guest, and the link between them."""
    with ExitStack() as stack:
        made: list[Twins] = []

        def make(there: Misbehaviour | None = None, back: Misbehaviour | None = None) -> Twins:
            first, second = MemoryLink.pair(there, back)
            stack.enter_context(first)
            stack.enter_context(second)
            host = stack.enter_context(Stations(first, guest_mac=GUEST_MAC))
            guest = stack.enter_context(
                Stations(
                    second,
                    guest_mac="02:00:c0:00:02:01",
                    guest_ip="192.0.2.1",
                    gateway="192.0.2.2",
                    guest_ip6="2001:db8::1",
                    gateway6="2001:db8::2",
                )
            )
            made.append((host, guest, first, second))
            return made[-1]

        yield make
        for host, guest, first, second in made:
            assert (first.failure, second.failure, host.timers.failure, guest.timers.failure) == (None,) * 4


@pytest.fixture
def twins(make_twins: MakeTwins) -> tuple[Stations, Stations]:
    host, guest, _, _ = make_twins()
    return host, guest
