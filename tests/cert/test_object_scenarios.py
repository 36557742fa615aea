"""The scenarios that look at a driver's objects: a sound set of them passes, one that breaks something fails."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import ExpectationFailed
from harness.guest.engine_state import parse_engine_state
from harness.wfp import action_value
from harness.wfp.names import guids

SCENARIOS = Path(__file__).parents[2] / "scenarios" / "certification" / "test_objects.py"
NOBODY = "00000000-0000-0000-0000-000000000000"
BUILT_IN = str(guids()["FWPM_SUBLAYER_UNIVERSAL"])
ANSWERS = SimpleNamespace(driver=SimpleNamespace(company="Contoso", product="Contoso Firewall"))


def key(number):
    return f"{number:08x}-0000-0000-0000-000000000000"


PROVIDER, OWN, OTHER_PROVIDER, FOREIGN = key(1), key(2), key(3), key(4)
ANY_CONDITION = {"field": key(9), "match": 0, "value": {"type": 0}}


def named(at, name, **more):
    return {"key": key(at), "name": name, "flags": 0, "provider": PROVIDER, **more}


def rule(number=20, **more):
    fields = {
        "layer": key(7), "sublayer": OWN, "weight": {"type": 0}, "effective_weight": {"type": 0},
        "action": action_value("CALLOUT_TERMINATING"), "callout": key(10), "number": number, "conditions": [],
    }  # fmt: skip
    return named(number, "rule", **{**fields, **more})


def others():
    """What is in the engine without the driver: a built-in sublayer, and another product's."""
    return {
        "sessions": [], "layers": [], "provider_contexts": [], "callouts": [], "filters": [],
        "providers": [named(3, "Fabrikam", provider=None)],
        "sublayers": [
            {"key": BUILT_IN, "name": "universal", "flags": 0, "weight": 1},
            named(4, "Fabrikam's", provider=OTHER_PROVIDER, weight=7),
        ],
    }  # fmt: skip


def at_work(**change):
    """With a sound driver, and what is changed of it."""
    without = others()
    own = {
        "providers": [named(1, "Contoso Ltd", description="Contoso Firewall 4", provider=None)],
        "sublayers": [named(2, "Contoso's", weight=5)],
        "provider_contexts": [named(30, "context", kind=3, number=1)],
        "callouts": [named(10, "callout", layer=key(7), number=1)],
        "filters": [rule()],
    }
    return without | {kind: [*without[kind], *objects] for kind, objects in (own | change).items()}


@pytest.fixture(scope="module")
def scenarios():
    spec = importlib.util.spec_from_file_location("object_scenarios", SCENARIOS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def judge(scenarios):
    """Run one of them on an engine with the driver at work, and after it has gone."""

    def judge(name, during, after=None):
        owned = scenarios.Owned(parse_engine_state(others()), parse_engine_state(during))
        gone = parse_engine_state(others() if after is None else after)
        given = {
            "probe": SimpleNamespace(request=lambda op: None, wfp_state=lambda: gone),
            "service": SimpleNamespace(stop=lambda: None),
            "scene": SimpleNamespace(bench=SimpleNamespace(is_windows=True)),
            "owned": owned,
            "answers": ANSWERS,
        }
        function = getattr(scenarios, name)
        wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
        function(**{each: given[each] for each in wanted})

    return judge


LEFT = "test_nothing_of_the_driver_is_left_when_it_goes"
NAMES = "test_a_provider_names_company_and_product"
BELONGS = "test_every_object_names_its_provider"
LIES = "test_filters_lie_in_own_or_built_in_sublayers"
OTHERS = "test_objects_of_others_are_as_they_were"
SEEN = "test_another_program_enumerates_the_objects"
DECIDES = "test_one_filter_decides"
SAYS = "test_not_every_filter_permits_everything"
ALL = [LEFT, NAMES, BELONGS, LIES, OTHERS, SEEN, DECIDES, SAYS]


@pytest.mark.parametrize("name", ALL)
def test_a_sound_driver_passes(judge, name):
    judge(name, at_work())
    judge(name, at_work(filters=[rule(sublayer=BUILT_IN, conditions=[ANY_CONDITION])]))


def test_all_scenarios_of_the_module_are_tried_here(scenarios):
    assert sorted(name for name in vars(scenarios) if name.startswith("test_")) == sorted(ALL)


def changed_sublayer(state):
    """The other product's sublayer has another weight."""
    state["sublayers"] = [each | ({"weight": 1} if each["key"] == FOREIGN else {}) for each in state["sublayers"]]
    return state


def without_foreign(state):
    state["sublayers"] = [each for each in state["sublayers"] if each["key"] != FOREIGN]
    return state


@pytest.mark.parametrize(
    ("name", "during", "words"),
    [
        (NAMES, at_work(providers=[]), "at least one provider"),
        (NAMES, at_work(providers=[named(1, "Contoso", provider=None)]), "Contoso Firewall"),
        (NAMES, at_work(providers=[named(1, "Fabrikam", description="Contoso Firewall", provider=None)]), "Contoso"),
        (BELONGS, at_work(filters=[rule(provider=None)]), "filters of no provider of the driver: 'rule'"),
        (BELONGS, at_work(filters=[rule(provider=OTHER_PROVIDER)]), "filters of no provider"),
        (BELONGS, at_work(sublayers=[named(2, "own", provider=None, weight=5)]), "sublayers of no provider"),
        (BELONGS, at_work(callouts=[named(10, "c", provider=None, layer=key(7), number=1)]), "callouts of no provider"),
        (BELONGS, at_work(provider_contexts=[named(30, "x", provider=None, kind=3, number=1)]), "provider_contexts of"),
        (LIES, at_work(filters=[rule(sublayer=FOREIGN)]), "filters in other sublayers: 'rule'"),
        (OTHERS, changed_sublayer(at_work()), "sublayers of others changed: 'Fabrikam's'"),
        (OTHERS, without_foreign(at_work()), "sublayers of others changed: 'Fabrikam's'"),
        (SEEN, others(), "objects that came with the driver"),
        (SEEN, at_work() | {"errors": [{"what": "filters", "code": 5}]}, "filters: 0x5"),
        (DECIDES, at_work(filters=[]), "a filter that decides"),
        (DECIDES, at_work(filters=[rule(action=action_value("CALLOUT_INSPECTION"))]), "a filter that decides"),
        (SAYS, at_work(filters=[]), "one that says something"),
        (SAYS, at_work(filters=[rule(action=action_value("PERMIT"))]), "of 1 filters one that says something"),
    ],
)  # fmt: skip
def test_what_breaks_the_requirement_fails(judge, name, during, words):
    with pytest.raises(ExpectationFailed) as failed:
        judge(name, during)
    assert words in str(failed.value)


@pytest.mark.parametrize("kind", ["providers", "provider_contexts", "sublayers", "callouts", "filters"])
def test_each_kind_of_object_that_is_left_is_told(judge, kind):
    after = others()
    after[kind] = at_work()[kind]
    with pytest.raises(ExpectationFailed, match=f"{kind} left: '"):
        judge(LEFT, at_work(), after)


def test_what_goes_with_the_driver_is_told(judge):
    with pytest.raises(ExpectationFailed, match="sublayers of others changed: 'Fabrikam's'"):
        judge(OTHERS, at_work(), without_foreign(others()))
