"""The state of the filter engine as XML: what is in it, and that nothing a guest says can break it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

import harness.guest
from harness.driver.wfp_state import load_wfp_state
from harness.errors import GuestError
from harness.guest.engine_state import parse_engine_state
from harness.guest.state_xml import render_state
from harness.wfp import guid

SCHEMA = Path(harness.guest.__file__).parent / "data" / "wfp-state.rng"
LAYER, OTHER = str(guid("FWPM_LAYER_ALE_AUTH_CONNECT_V4")), str(guid("FWPM_LAYER_OUTBOUND_TRANSPORT_V6"))
HEAVY, LIGHT, OWN = "a0" * 16, str(guid("FWPM_SUBLAYER_UNIVERSAL")), "b1" * 16
CALLOUT, STRANGER, CONTEXT = "c2" * 16, "c3" * 16, "d4" * 16


@cache
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(SCHEMA))


def allowed(document: bytes) -> etree._Element:
    root = etree.fromstring(document)
    assert schema().validate(root), schema().error_log
    return root


def numbered(number: int, kind: int = 4) -> dict[str, Any]:
    return {"type": kind, "number": number}


def a_filter(number: int, sublayer: str, weight: int, **fields: Any) -> dict[str, Any]:
    return {
        "key": f"{number:032x}", "name": f"filter {number}", "flags": 0, "layer": LAYER, "sublayer": sublayer,
        "weight": {"type": 0}, "effective_weight": numbered(weight), "action": 0x1001, "callout": "0" * 32,
        "raw_context": 0, "number": number, "conditions": [],
    } | fields  # fmt: skip


def reply(**fields: Any) -> dict[str, Any]:
    return {
        "sessions": [{"key": OWN, "name": "s", "flags": 1, "wait_ms": 5, "process_id": 42, "user": "me", "kernel": 1}],
        "providers": [{"key": OWN, "name": "p", "flags": 0, "service": "svc", "data": "4100", "data_size": 2}],
        "provider_contexts": [
            {"key": CONTEXT, "name": "c", "flags": 0, "kind": 8, "number": 3, "content": "6869", "content_size": 2}
        ],
        "sublayers": [
            {"key": LIGHT, "name": "light", "flags": 0, "weight": 1},
            {"key": HEAVY, "name": "heavy", "flags": 1, "weight": 9},
        ],
        "layers": [{"key": LAYER, "name": "l", "flags": 3, "number": 48, "fields": 20, "sublayer": LIGHT}],
        "callouts": [
            {"key": CALLOUT, "name": "k", "flags": 0x40000, "layer": LAYER, "number": 7, "provider": OWN},
        ],
        "filters": [],
        "errors": [],
    } | fields  # fmt: skip


def shown(**fields: Any) -> etree._Element:
    return allowed(render_state(parse_engine_state(reply(**fields)), guest="g"))


def texts(root: etree._Element, path: str) -> list[str]:
    return [node.text or "" for node in root.findall(path)]


def test_objects_stand_with_their_values_and_names() -> None:
    root = shown()
    assert texts(root, "sessions/item/processId") == ["42"]
    assert texts(root, "sessions/item/flags/item") == ["FWPM_SESSION_FLAG_DYNAMIC"]
    assert texts(root, "sessions/item/kernelMode") == ["true"]
    assert texts(root, "providers/item/serviceName") == ["svc"]
    assert texts(root, "providers/item/providerData/asString") == ["A."]
    assert texts(root, "providerContexts/item/type") == ["FWPM_GENERAL_CONTEXT"]
    assert texts(root, "providerContexts/item/dataBuffer/data") == ["6869"]
    assert texts(root, "subLayers/item/displayData/name") == ["heavy", "light"]
    assert texts(root, "layers/item/layer/layerKey") == ["FWPM_LAYER_ALE_AUTH_CONNECT_V4"]
    assert texts(root, "layers/item/layer/flags/item") == ["FWPM_LAYER_FLAG_KERNEL", "FWPM_LAYER_FLAG_BUILTIN"]
    assert texts(root, "layers/item/callouts/item/flags/item") == ["FWPM_CALLOUT_FLAG_REGISTERED"]
    assert texts(root, "layers/item/callouts/item/applicableLayer") == ["FWPM_LAYER_ALE_AUTH_CONNECT_V4"]
    assert root.find("flows") is None, "what the engine does not tell of is not shown as nothing"


def test_filters_stand_in_the_order_in_which_they_are_asked() -> None:
    weights = [(1, LIGHT, 90), (2, HEAVY, 10), (3, HEAVY, 80), (4, LIGHT, 95)]
    root = shown(filters=[a_filter(number, sublayer, weight) for number, sublayer, weight in weights])
    assert texts(root, "layers/item/filters/item/filterId") == ["3", "2", "4", "1"]


def test_a_filter_of_an_unknown_layer_is_not_lost() -> None:
    root = shown(filters=[a_filter(5, HEAVY, 1, layer=OTHER)])
    assert texts(root, "layers/item/layer/layerKey")[-1] == "FWPM_LAYER_OUTBOUND_TRANSPORT_V6"
    assert texts(root, "layers/item/filters/item/filterId") == ["5"]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (("IP_REMOTE_ADDRESS", 0, numbered(0xC0000202, 3)), ["FWP_UINT32", "192.0.2.2"]),
        (("IP_REMOTE_PORT", 0, numbered(80, 2)), ["FWP_UINT16", "80"]),
        (("IP_LOCAL_ADDRESS", 0, {"type": 11, "hex": "20010db8" + "00" * 11 + "02"}), ["2001:db8::2"]),
        (("FLAGS", 6, numbered(5, 3)), ["FWP_CONDITION_FLAG_IS_LOOPBACK", "FWP_CONDITION_FLAG_IS_REAUTHORIZE"]),
        (("IP_REMOTE_ADDRESS", 0, {"type": 0x100, "number": 0x0A000000, "mask": 0xFF000000}),
         ["10.0.0.0", "255.0.0.0"]),
        (("IP_REMOTE_ADDRESS", 5, {"type": 0x102, "low": numbered(0x0A000001, 3), "high": numbered(0x0A000009, 3)}),
         ["10.0.0.1", "10.0.0.9"]),
        (("ALE_APP_ID", 0, {"type": 12, "hex": "5c006100.0000".replace(".", "")}), ["\\a"]),
    ],
)  # fmt: skip
def test_conditions_are_readable(condition: tuple[str, int, dict[str, Any]], words: list[str]) -> None:
    field, match, value = condition
    told = {"field": str(guid(f"FWPM_CONDITION_{field}")), "match": match, "value": value}
    (item,) = shown(filters=[a_filter(1, HEAVY, 1, conditions=[told])]).findall(".//filterCondition/item")
    assert item.findtext("fieldKey") == f"FWPM_CONDITION_{field}"
    said = [text.strip() for text in item.itertext()]
    assert set(words) <= set(said)


def test_an_action_names_its_callout_and_a_context_takes_the_place_of_the_raw_one() -> None:
    asks = a_filter(1, HEAVY, 2, action=0x5003, callout=CALLOUT, context=CONTEXT, flags=4)
    plain = a_filter(2, HEAVY, 1)
    first, second = shown(filters=[plain, asks]).findall(".//filters/item")
    assert first.findtext("action/type") == "FWP_ACTION_CALLOUT_TERMINATING"
    assert first.findtext("action/calloutKey") == "{c2c2c2c2-c2c2-c2c2-c2c2-c2c2c2c2c2c2}"
    assert first.findtext("providerContextKey") is not None
    assert first.find("rawContext") is None
    assert second.findtext("action/type") == "FWP_ACTION_BLOCK"
    assert second.findtext("action/filterType") == ""
    assert second.findtext("rawContext") == "0"


def test_what_only_the_reference_guest_tells() -> None:
    registration = {"number": 7, "version": 1, "contexts": 2, "running": 0, "module": "portblock.sys"}
    flow = {
        "number": 9, "local": "00" * 10 + "ffff" + "c0000202", "remote": "00" * 10 + "ffff" + "7f000001",
        "original": "20010db8" + "00" * 11 + "05", "local_port": 40000, "remote_port": 8080, "original_port": 80,
        "protocol": 6, "flags": 1 | 4 | 8, "contexts": 1, "process_id": 12,
    }  # fmt: skip
    root = shown(
        registrations=[registration | {"key": CALLOUT}, registration | {"key": STRANGER}], flows=[flow], flow_count=3
    )
    assert texts(root, "layers/item/callouts/item/driver") == ["portblock.sys"]
    assert texts(root, "layers/item/callouts/item/flowContexts") == ["2"]
    assert texts(root, "registrations/item/calloutKey") == ["{c3c3c3c3-c3c3-c3c3-c3c3-c3c3c3c3c3c3}"]
    assert texts(root, "flows/item/remote") == ["127.0.0.1:8080"]
    assert texts(root, "flows/item/originalRemote") == ["[2001:db8::5]:80"]
    assert texts(root, "flows/item/state/item") == ["OUTBOUND", "REDIRECTED", "PENDED"]
    assert root.find("flows").get("all") == "3"  # type: ignore[union-attr]


def test_what_could_not_be_read_is_said() -> None:
    root = shown(errors=[{"what": "filters", "code": 0x80320012}])
    assert texts(root, "unread/item") == ["filters: error 0x80320012"]


def test_who_reads_the_state_of_windows_reads_this() -> None:
    """The objects stand as in the document of netsh, which load_wfp_state takes apart."""
    told = parse_engine_state(reply(filters=[a_filter(1, HEAVY, 1, provider=OWN)]))
    found = load_wfp_state(render_state(told, guest="g"))
    kinds = sorted(kind for kind, _ in found)
    assert kinds == ["callout", "filter", "provider", "provider context", "sublayer", "sublayer"]
    (seen,) = [thing for (kind, _), thing in found.items() if kind == "filter"]
    assert seen.name == "filter 1"
    assert seen.provider == "{b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1}"


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_no_name_breaks_the_document(name: str, service: str) -> None:
    """Any code point, halves of surrogate pairs included."""
    provider = {"key": OWN, "name": name, "flags": 0, "service": service}
    document = render_state(parse_engine_state(reply(providers=[provider])), guest="g", at=datetime.now(UTC))
    (item,) = allowed(document).findall("providers/item")
    assert (item.findtext("displayData/name") or "") == in_xml(name)
    assert (item.findtext("serviceName") or "") == in_xml(service)


def in_xml(text: str) -> str:
    """By production 2 of XML 1.0, one code point after the other."""
    allowed = [(9, 10), (13, 13), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF)]
    fits = (any(first <= ord(char) <= last for first, last in allowed) for char in text)
    return "".join(char if fit else f"\\u{ord(char):04x}" for char, fit in zip(text, fits, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"filters": None},
        {"sessions": [{"key": "no guid"}]},
        {"sublayers": [{"key": OWN, "flags": -1, "weight": 1}]},
        {"sublayers": [{"key": OWN, "flags": 1 << 32, "weight": 1}]},
        {"providers": [{"key": OWN, "flags": 0, "data": "4", "data_size": 1}]},
        {"providers": "many"},
        {"filters": [a_filter(1, HEAVY, 1 << 64)]},
        {"flows": [{"number": 1}]},
    ],
)
def test_what_no_probe_prints_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(GuestError, match="state of the filter engine"):
        parse_engine_state(reply(**wrong))
