"""The catalogue of requirements: whole, with sources, and no scenario names one that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cert import Settled, all_requirements, requirement
from harness.cert.evidence import plan
from harness.cert.requirements import all_kit_tests
from harness.errors import UsageError

ROOT = Path(__file__).parents[2]
PLATFORM = "Filter.Driver.WindowsFilteringPlatform."
FEATURES = ("firewall", "mac_layers", "vswitch_layers", "packet_injection", "stream_injection", "connection_proxying")


def test_the_catalogue_is_whole() -> None:
    entries = all_requirements()
    assert sum(name.startswith(PLATFORM) for name in entries) == 44
    assert set(entries) - {name for name in entries if name.startswith(PLATFORM)} == {
        "Filter.Driver.DeviceGuard.DriverCompatibility",
        "Filter.Driver.Fundamentals.DriverQuality",
        "Filter.Driver.Security.NoTDIFilterAndLSP",
    }
    for each in entries.values():
        assert each.meaning.endswith(".")
        assert each.sources
        assert all(source.startswith("https://learn.microsoft.com/") for source in each.sources)
        assert Settled.HLK in each.settled, "nothing but the lab kit decides in the end"
        assert set(each.when) <= set(FEATURES)
        assert bool(each.when) == (each.when_from in ("table", "wording"))
        assert (Settled.ATTESTATION in each.settled) == bool(each.attestation)
    keys = [each.attestation for each in entries.values() if each.attestation]
    assert len(keys) == len(set(keys)) == 44


def test_every_requirement_is_tried_by_a_test_of_the_kit() -> None:
    named = {name for test in all_kit_tests() for name in test.requirements}
    assert named == set(all_requirements())


def test_conditions_are_those_of_the_page() -> None:
    """The table of the prerequisites page, feature by feature."""
    asked = {name: {each.short for each in all_requirements().values() if name in each.when} for name in FEATURES}
    assert asked["packet_injection"] == {"ArchitecturalDesign.PacketInjection.NoDeadlocks"}
    assert asked["stream_injection"] == {"ArchitecturalDesign.StreamInjection.NoStreamStarvation"}
    assert len(asked["vswitch_layers"]) == 5
    assert asked["mac_layers"] == {"Scenario.SupportMobileBroadBand", "Firewall.SupportMACAddressExceptions"}
    assert len(asked["firewall"]) == 8


def test_scenarios_and_catalogue_agree() -> None:
    """What a scenario is marked with exists and is settled so; what is to be settled by scenarios has one."""
    planned = plan(ROOT, [ROOT / "scenarios"])
    marked = {name for each in planned for name in each.requirements}
    by_scenarios = {each.id for each in all_requirements().values() if Settled.SCENARIOS in each.settled}
    assert marked == by_scenarios


@pytest.mark.parametrize("name", ["ArchitecturalDesign.Winsock", PLATFORM + "ArchitecturalDesign.Winsock"])
def test_a_requirement_is_found_by_either_name(name: str) -> None:
    assert requirement(name).short == "ArchitecturalDesign.Winsock"


def test_one_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"There is no requirement 'Filter\.Driver\.Security\.NoTDI'") as caught:
        requirement("Filter.Driver.Security.NoTDI")
    assert "Filter.Driver.Security.NoTDIFilterAndLSP" in str(caught.value.hint)


def test_the_end_of_an_id_is_enough_where_only_one_has_it():
    assert requirement("SupportPowerManagedStates").short == "ArchitecturalDesign.SupportPowerManagedStates"
    assert requirement("Security.NoTDIFilterAndLSP").id == "Filter.Driver.Security.NoTDIFilterAndLSP"
    with pytest.raises(UsageError, match=r"'NoDeadlocks' is the end of 2 requirements\."):
        requirement("NoDeadlocks")
    with pytest.raises(UsageError, match="There is no requirement 'Deadlocks'"):
        requirement("Deadlocks")
