"""The wire as a scenario makes it worse, and the carrier of the test NIC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Self

from harness.errors import HarnessError, UsageError
from harness.link import Direction, Impairment, Wire
from harness.plugin.bench import Bench
from harness.steps import note, step


@dataclass(frozen=True, slots=True)
class Impaired:
    """Both ways of the wire at work; their `counters` say what they did."""

    to_guest: Wire | None
    from_guest: Wire | None

    def total(self, name: str) -> int:
        """One of the counters, both ways together: 'lost', 'repeated', 'reordered', 'corrupted', ..."""
        return sum(getattr(wire.counters, name) for wire in (self.to_guest, self.from_guest) if wire is not None)


class Impair:
    """Call it: the fields of `Impairment` are for both ways, with a seed of its own for the way from the guest."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._carrier_off: set[int] = set()

    def __call__(self, **words: Any) -> Impaired:
        """Both ways alike, from now on."""
        one = make_impairment(words)
        return self.both(to_guest=one, from_guest=replace(one, seed=one.seed + 1))

    def both(self, *, to_guest: Impairment | None = None, from_guest: Impairment | None = None) -> Impaired:
        """Each way as it is given; a way without an impairment lets everything pass, from now on."""
        stations = self._bench.stations
        routers = (stations.gateway.address, stations.gateway6.address)
        ways = [None if each is None else replace(each, routers=routers) for each in (to_guest, from_guest)]
        for name, each in zip(("to the guest", "from the guest"), ways, strict=True):
            if each is not None:
                note(f"the wire {name}: {replace(each, routers=Impairment().routers).words}")
        wires = self._bench.link.impair(*ways)
        return Impaired(wires.get(Direction.TO_GUEST), wires.get(Direction.FROM_GUEST))

    def nothing(self) -> None:
        """The wire is good again; what it held back arrives."""
        self._bench.link.impair()

    @contextmanager
    def carrier_down(self, nic: int = 0) -> Iterator[None]:
        """A block in which the test NIC has no carrier, as if its cable were pulled: the guest's driver sees it.

        Nothing passes meanwhile, a fence neither: call it after the block.
        """
        with step(f"take the carrier from test NIC {nic}"):
            self._carrier_off.add(nic)
            self._bench.machine.set_carrier(nic, up=False)
        try:
            yield
        finally:
            self._give_carrier(nic)

    @contextmanager
    def until_end(self) -> Iterator[Self]:
        """A block behind which the wire is as it was before."""
        try:
            yield self
        finally:
            for nic in tuple(self._carrier_off):
                try:
                    self._give_carrier(nic)
                except HarnessError as error:  # the machine is lost, which its own check tells
                    note(f"The carrier of test NIC {nic} could not be given back: {error.message}")
            self._bench.link.impair()

    def _give_carrier(self, nic: int) -> None:
        with step(f"give test NIC {nic} its carrier"):
            self._bench.machine.set_carrier(nic, up=True)
            self._carrier_off.discard(nic)


def make_impairment(words: dict[str, Any]) -> Impairment:
    """An impairment from the words of a call or of a table. Raises UsageError for one that it does not know."""
    known = [field.name for field in fields(Impairment)]
    for name in words:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(
                f"An impairment has no '{name}'.",
                hint=f"Did you mean '{near[0]}'?" if near else f"It has: {', '.join(known)}.",
            )
    return Impairment(**words)
