"""Which link, NIC and seed the impairments of a scenario are for, and what its result says of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.link import Direction, Impairment, Kind
from harness.plugin.impairing import Impair


class RecordingLink:
    def __init__(self) -> None:
        self.ways: list[tuple[Impairment | None, ...]] = []

    def impair(self, *ways: Impairment | None) -> dict[Direction, object]:
        self.ways.append(ways)
        return {}


class RecordingMachine:
    def __init__(self) -> None:
        self.carriers: list[tuple[int, bool]] = []

    def set_carrier(self, nic: int, *, up: bool) -> None:
        self.carriers.append((nic, up))


def stations(*gateways: str) -> Any:
    gateway, gateway6 = (SimpleNamespace(address=address) for address in gateways)
    return SimpleNamespace(gateway=gateway, gateway6=gateway6)


@pytest.fixture
def scene() -> Any:
    bench = SimpleNamespace(
        link=RecordingLink(),
        machine=RecordingMachine(),
        stations=stations("192.0.2.1", "2001:db8::1"),
        options=SimpleNamespace(seed=40),
    )
    return SimpleNamespace(bench=bench, seeds=[])


@pytest.fixture
def far() -> Any:
    return SimpleNamespace(link=RecordingLink(), stations=stations("203.0.113.254", "2001:db8:1::1"))


def test_without_a_seed_of_its_own_a_wire_has_the_runs(scene: Any) -> None:
    Impair.of_near(scene)(lose=0.5)

    to_guest, from_guest = scene.bench.link.ways[0]
    assert (to_guest.seed, from_guest.seed) == (40, 41)
    assert scene.seeds == ["40 of the wire to the guest", "41 of the wire from the guest"]


def test_a_seed_that_the_scenario_names_is_that_one_in_every_run(scene: Any) -> None:
    Impair.of_near(scene)(seed=3, lose=0.5)

    assert [way.seed for way in scene.bench.link.ways[0]] == [3, 4]
    assert scene.seeds[0] == "3 of the wire to the guest"


@pytest.mark.parametrize(
    ("words", "draws"),
    [
        ({"lose": [2, 5]}, False),
        ({"mtu": 1280, "hold": 3, "down": True}, False),
        ({"reorder": [2]}, False),
        ({"lose": 0.0}, False),
        ({"reorder": [2], "depth": 2}, True),
        ({"corrupt": [1]}, True),
        ({"repeat": 0.1}, True),
        ({"delay": 1.0, "jitter": 0.5, "clock": "host"}, True),
    ],
)
def test_what_leaves_nothing_to_chance_names_no_seed(scene: Any, words: dict[str, Any], draws: bool) -> None:
    Impair.of_near(scene)(**words)

    assert bool(scene.seeds) is draws


def test_the_far_link_is_impaired_by_itself(scene: Any, far: Any) -> None:
    impair = Impair.of_far(scene, far)
    impair.both(from_guest=Impairment(lose=0.5, seed=9, of=(Kind.UDP,)))
    with impair.carrier_down():
        pass

    assert scene.bench.link.ways == []
    assert far.link.ways[0][0] is None
    assert far.link.ways[0][1].routers == ("203.0.113.254", "2001:db8:1::1")
    assert scene.seeds == ["9 of the wire from the second NIC"]
    assert scene.bench.machine.carriers == [(1, False), (1, True)]


def test_at_the_end_the_wire_is_good_again_and_the_cable_in(scene: Any, far: Any) -> None:
    class Over(Exception):
        pass

    impair = Impair.of_far(scene, far)
    cut = impair.carrier_down()
    with pytest.raises(Over), impair.until_end():
        impair(lose=[1])
        cut.__enter__()
        raise Over

    assert far.link.ways[-1] == ()
    assert scene.bench.machine.carriers == [(1, False), (1, True)]
