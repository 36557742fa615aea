"""The objects that a driver has in the filter engine: whose they are, where they lie, and that they go with it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness.expect import expect
from harness.guest.engine_state import EngineState
from harness.wfp import action_value
from harness.wfp.names import guids

KINDS = ("providers", "provider_contexts", "sublayers", "callouts", "filters")
BUILT_IN_SUBLAYERS = {key for name, key in guids().items() if name.startswith("FWPM_SUBLAYER_")}
DECIDING = {action_value(name) for name in ("PERMIT", "BLOCK", "CALLOUT_TERMINATING", "CALLOUT_UNKNOWN")}


@dataclass(frozen=True)
class Owned:
    """The engine without the driver, and with it at work."""

    without: EngineState
    during: EngineState

    def of(self, kind):
        """The objects of a kind that came with the driver."""
        there = {each.key for each in getattr(self.without, kind)}
        return [each for each in getattr(self.during, kind) if each.key not in there]


@pytest.fixture
def owned(probe, service, put_to_work):
    """The driver is unloaded and loaded again, and what comes with it is its own."""
    probe.request("drv_close")
    service.stop()
    without = probe.wfp_state()
    service.start()
    put_to_work()
    return Owned(without, probe.wfp_state())


def named(objects):
    """How failures name objects."""
    return ", ".join(f"'{each.name}' {each.key}" for each in objects) or "none"


@pytest.mark.rule("W072")
@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.CleanUninstall")
def test_nothing_of_the_driver_is_left_when_it_goes(probe, service, owned):
    """When the driver is unloaded no provider, provider context, sublayer, callout or filter of it is left."""
    probe.request("drv_close")
    service.stop()
    after = probe.wfp_state()

    for kind in KINDS:
        own = {each.key for each in owned.of(kind)}
        left = [each for each in getattr(after, kind) if each.key in own]
        expect(f"{kind} left: {named(left)}").equals(f"{kind} left: none")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.FwpmProviders.MaintainIdentifying")
def test_a_provider_names_company_and_product(owned, answers):
    """The driver has a provider whose name is the company's and whose description is the product's."""
    providers = owned.of("providers")
    company, product = (answers.driver.company, answers.driver.product) if answers is not None else ("", "")

    expect(len(providers)).satisfies(lambda count: count > 0, "at least one provider came with the driver")
    identifying = [
        each
        for each in providers
        if each.name and each.description and company in each.name and product in each.description
    ]
    expect([(each.name, each.description) for each in providers]).satisfies(
        lambda _: bool(identifying), f"a provider with name '{company}' and description '{product}'"
    )


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.FwpmProviders.AssociateWithObjects"
)
def test_every_object_names_its_provider(owned):
    """Every provider context, sublayer, callout and filter of the driver names a provider of the driver."""
    own = {each.key for each in owned.of("providers")}

    for kind in KINDS[1:]:
        strangers = [each for each in owned.of(kind) if each.provider not in own]
        expect(f"{kind} of no provider of the driver: {named(strangers)}").equals(
            f"{kind} of no provider of the driver: none"
        )


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.FwpmSublayers.UseOwnOrBuiltIn")
def test_filters_lie_in_own_or_built_in_sublayers(owned):
    """Every filter of the driver lies in a sublayer that came with it, or in one that Windows brings."""
    allowed = {each.key for each in owned.of("sublayers")} | BUILT_IN_SUBLAYERS
    astray = [each for each in owned.of("filters") if each.sublayer not in allowed]

    expect(f"filters in other sublayers: {named(astray)}").equals("filters in other sublayers: none")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.NoTamperingWith3rdPartyObjects")
def test_objects_of_others_are_as_they_were(probe, service, owned):
    """What was in the filter engine before the driver is there unchanged with it, and after it."""
    probe.request("drv_close")
    service.stop()
    after = probe.wfp_state()

    for kind in KINDS:
        before = {each.key: each for each in getattr(owned.without, kind)}
        for state in (owned.during, after):
            now = {each.key: each for each in getattr(state, kind)}
            changed = [each for key, each in before.items() if now.get(key) != each]
            expect(f"{kind} of others changed: {named(changed)}").equals(f"{kind} of others changed: none")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.WFPObjectACLs")
def test_another_program_enumerates_the_objects(scene, owned):
    """A program that is not the driver's own enumerates all kinds of objects, the driver's among them."""
    if not scene.bench.is_windows:
        pytest.skip("the reference guest turns nobody away by the ACL of an object")
    refused = [f"{each.what}: {each.code:#x}" for each in owned.during.errors]

    expect(refused).equals([])
    expect(sum(len(owned.of(kind)) for kind in KINDS)).satisfies(
        lambda count: count > 0, "objects that came with the driver"
    )


@pytest.mark.requirement(
    "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.FwpmFilters.MaintainOneTerminating"
)
def test_one_filter_decides(owned):
    """At least one filter of the firewall permits or blocks, by itself or by a callout."""
    deciding = [each for each in owned.of("filters") if each.action in DECIDING]

    expect(len(deciding)).satisfies(lambda count: count > 0, "a filter that decides")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.Firewall.NotOnlyPermitAllFilters")
def test_not_every_filter_permits_everything(owned):
    """At least one filter of the firewall is something else than a permit without a condition."""
    filters = owned.of("filters")
    meaningful = [each for each in filters if each.conditions or each.action != action_value("PERMIT")]

    expect(len(meaningful)).satisfies(lambda count: count > 0, f"of {len(filters)} filters one that says something")
