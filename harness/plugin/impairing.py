"""The wire as a scenario makes it worse, and the carrier of the test NIC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

from harness.errors import HarnessError, UsageError
from harness.hypervisor import Machine
from harness.link import Direction, Impairment, StreamLink, Wire
from harness.plugin.far import FarLink
from harness.steps import note, step

if TYPE_CHECKING:
    from harness.plugin.recording import Scene


@dataclass(frozen=True, slots=True)
class Impaired:
    """Both ways of the wire at work; their `counters` say what they did."""

    to_guest: Wire | None
    from_guest: Wire | None

    def total(self, name: str) -> int:
        """One of the counters, both ways together: 'lost', 'repeated', 'reordered', 'corrupted', ..."""
        return sum(getattr(wire.counters, name) for wire in (self.to_guest, self.from_guest) if wire is not None)


class Impair:
    """Call it: the fields of `Impairment` are for both ways, with a seed of its own for the way from the guest.

    Without a seed they have the run's. What is drawn from is added to `seeds`.
    """

    def __init__(
        self,
        link: StreamLink,
        machine: Machine,
        *,
        nic: int,
        routers: tuple[str, str],
        seed: int = 0,
        seeds: list[str] | None = None,
    ) -> None:
        self._link, self._machine, self._nic, self._routers = link, machine, nic, routers
        self._seed, self._seeds = seed, [] if seeds is None else seeds
        self._carrier_off: set[int] = set()

    @classmethod
    def of_near(cls, scene: Scene) -> Self:
        """The link of the first test NIC."""
        bench = scene.bench
        routers = bench.stations.gateway.address, bench.stations.gateway6.address
        seed = bench.options.seed
        return cls(bench.link, bench.machine, nic=0, routers=routers, seed=seed, seeds=scene.seeds)

    @classmethod
    def of_far(cls, scene: Scene, far: FarLink) -> Self:
        """The link of the second test NIC."""
        routers = far.stations.gateway.address, far.stations.gateway6.address
        seed = scene.bench.options.seed
        return cls(far.link, scene.bench.machine, nic=1, routers=routers, seed=seed, seeds=scene.seeds)

    def __call__(self, **words: Any) -> Impaired:
        """Both ways alike, from now on."""
        one = make_impairment({"seed": self._seed} | words)
        return self.both(to_guest=one, from_guest=replace(one, seed=one.seed + 1))

    def both(self, *, to_guest: Impairment | None = None, from_guest: Impairment | None = None) -> Impaired:
        """Each way as it is given; a way without an impairment lets everything pass, from now on."""
        ways = [None if each is None else replace(each, routers=self._routers) for each in (to_guest, from_guest)]
        names = ("to the guest", "from the guest") if self._nic == 0 else ("to the second NIC", "from the second NIC")
        for name, each in zip(names, ways, strict=True):
            if each is not None:
                note(f"the wire {name}: {replace(each, routers=Impairment().routers).words}")
                if each.draws:
                    self._seeds.append(f"{each.seed} of the wire {name}")
        wires = self._link.impair(*ways)
        return Impaired(wires.get(Direction.TO_GUEST), wires.get(Direction.FROM_GUEST))

    def nothing(self) -> None:
        """The wire is good again; what it held back arrives."""
        self._link.impair()

    @contextmanager
    def carrier_down(self, nic: int | None = None) -> Iterator[None]:
        """A block in which the test NIC has no carrier, as if its cable were pulled.

        Nothing passes meanwhile, a fence neither: call it after the block. `nic` is the one of this link if not given;
        whether the guest's driver has noticed, `guest.has_carrier(nic)` tells.
        """
        nic = self._nic if nic is None else nic
        with step(f"take the carrier from test NIC {nic}"):
            self._carrier_off.add(nic)
            self._machine.set_carrier(nic, up=False)
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
            self._link.impair()

    def _give_carrier(self, nic: int) -> None:
        with step(f"give test NIC {nic} its carrier"):
            self._machine.set_carrier(nic, up=True)
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
