"""The state of the filter engine as XML for a person to read, with the element names of `netsh wfp show state`.

GUIDs have their names in the kit, addresses are readable, flags stand one by one. Of a layer's filters the one that is
asked first comes first. What netsh does not have: `<driver>` and what follows it in a callout, `<registrations>` that
have no object, `<flows>`, `<unread>`. Schema: data/wfp-state.rng.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from lxml import etree

from harness.guest.engine_state import (
    Callout,
    Condition,
    EngineLayer,
    EngineState,
    Filter,
    FlowEntry,
    Provider,
    ProviderContext,
    Registration,
    Session,
    SubLayer,
    Value,
)
from harness.link.headers import endpoint_text
from harness.wfp.data import load
from harness.wfp.names import constants

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CALLOUT_ACTION = 0x4000  # FWP_ACTION_FLAG_CALLOUT
_FLOW_FLAGS = {1: "OUTBOUND", 2: "ESTABLISHED", 4: "REDIRECTED", 8: "PENDED"}
_NOBODY = UUID(int=0)


def render_state(state: EngineState, *, guest: str, at: datetime | None = None) -> bytes:
    """The XML document, in UTF-8; `guest` names where it comes from, `at` is the host's time."""
    root = etree.Element("wfpstate")
    _add(root, "timeStamp", (at or datetime.now(UTC)).isoformat(timespec="milliseconds"))
    _add(root, "guest", guest)
    _list(root, "unread", (_leaf("item", f"{each.what}: error {each.code:#x}") for each in state.errors))
    _list(root, "sessions", map(_session, state.sessions))
    _list(root, "providers", map(_provider, state.providers))
    _list(root, "providerContexts", map(_context, state.provider_contexts))
    _list(root, "subLayers", map(_sublayer, sorted(state.sublayers, key=lambda each: -each.weight)))
    _list(root, "layers", _layers(state))
    if state.registrations is not None:
        known = {callout.key for callout in state.callouts}
        bare = (each for each in state.registrations if each.key not in known)
        _list(root, "registrations", map(_bare_registration, bare))
    if state.flows is not None:
        _list(root, "flows", map(_flow, state.flows)).set("all", str(state.flow_count))
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def key_name(key: UUID, *families: str) -> str:
    """The kit's name of a GUID, of the first of the families that has one: FWPM_LAYER_, ...; else {the GUID}."""
    return next((_names(family)[key] for family in families if key in _names(family)), f"{{{key}}}")


def shown_text(text: str) -> str:
    r"""Text that XML can hold: what it cannot, as control characters and halves of surrogate pairs, becomes \u0000."""
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


@cache
def _names(family: str) -> dict[UUID, str]:
    # Some keys have several names, as IP_LOCAL_ADDRESS and IP_LOCAL_ADDRESS_V4: the shortest says it all.
    table = load("guids")["guids"].get(family, {})
    return {UUID(table[name]): name for name in sorted(table, key=lambda name: (-len(name), name))}


@cache
def _flag_names(prefix: str) -> dict[int, str]:
    found = {value: name for name, value in constants().items() if name.startswith(prefix)}
    return {value: name for value, name in found.items() if value and value & (value - 1) == 0}


@cache
def _enum_names(enum: str) -> dict[int, str]:
    return {number: name for name, number in load("constants")["enums"][enum].items() if not name.endswith("_MAX")}


@cache
def _action_names() -> dict[int, str]:
    found = {value: name for name, value in constants().items() if name.startswith("FWP_ACTION_")}
    return {value: name for value, name in found.items() if "_FLAG_" not in name}


# ---- pieces ----


def _leaf(tag: str, text: object = None) -> etree._Element:
    node = etree.Element(tag)
    if text is not None and text != "":
        node.text = shown_text(str(text))
    return node


def _add(parent: etree._Element, tag: str, text: object = None) -> etree._Element:
    node = _leaf(tag, text)
    parent.append(node)
    return node


def _list(parent: etree._Element, tag: str, items: Iterable[etree._Element]) -> etree._Element:
    node = etree.SubElement(parent, tag)
    node.extend(items)
    node.set("numItems", str(len(node)))
    return node


def _flags(parent: etree._Element, prefix: str, value: int, tag: str = "flags") -> None:
    known = _flag_names(prefix)
    words = [known.get(1 << bit, f"{1 << bit:#x}") for bit in range(32) if value >> bit & 1]
    _list(parent, tag, (_leaf("item", word) for word in words))


_Named = Session | Provider | SubLayer | ProviderContext | EngineLayer | Callout | Filter


def _head(key_tag: str, key: str, each: _Named, flags: str) -> etree._Element:
    node = etree.Element("item")
    _add(node, key_tag, key)
    display = _add(node, "displayData")
    _add(display, "name", each.name)
    _add(display, "description", each.description)
    _flags(node, flags, each.flags)
    return node


def _owner(node: etree._Element, each: SubLayer | ProviderContext | Callout | Filter) -> None:
    _add(node, "providerKey", key_name(each.provider, "FWPM_PROVIDER_") if each.provider else None)
    _blob(node, "providerData", each.data, each.data_size)


def _blob(parent: etree._Element, tag: str, content: str, size: int) -> None:
    node = _add(parent, tag)
    if size:
        raw = bytes.fromhex(content)
        node.set("size", str(size))
        _add(node, "data", content)
        _add(node, "asString", "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in raw))


def _value(tag: str, value: Value, field: str = "") -> etree._Element:
    node = etree.Element(tag)
    name = _enum_names("FWP_DATA_TYPE").get(value.type, f"{value.type:#x}")
    _add(node, "type", name)
    short = name.removeprefix("FWP_").removesuffix("_TYPE")
    if short == "RANGE" and value.low is not None and value.high is not None:
        inner = _add(node, "rangeValue")
        inner.append(_value("valueLow", value.low, field))
        inner.append(_value("valueHigh", value.high, field))
    elif short == "V4_ADDR_MASK" and value.number is not None and value.mask is not None:
        inner = _add(node, "v4AddrMask")
        _add(inner, "addr", _ipv4(value.number))
        _add(inner, "mask", _ipv4(value.mask))
    elif short == "V6_ADDR_MASK" and value.hex is not None:
        inner = _add(node, "v6AddrMask")
        _add(inner, "addr", _ipv6(value.hex))
        _add(inner, "prefixLength", value.mask)
    else:
        _simple_value(node, short, value, field)
    return node


def _simple_value(node: etree._Element, short: str, value: Value, field: str) -> None:
    is_address = field.endswith(("_ADDRESS", "_ADDRESS_V4", "_ADDRESS_V6"))
    if short == "BYTE_ARRAY16" and value.hex is not None:
        _add(node, "byteArray16", _ipv6(value.hex) if is_address else value.hex)
    elif short == "BYTE_ARRAY6" and value.hex is not None:
        _add(node, "byteArray6", ":".join(value.hex[at : at + 2] for at in range(0, len(value.hex), 2)))
    elif short == "BYTE_BLOB" and value.hex is not None:
        _blob(node, "byteBlob", value.hex, len(value.hex) // 2)
        if field == "FWPM_CONDITION_ALE_APP_ID":
            _add(node, "path", bytes.fromhex(value.hex).decode("utf-16-le", errors="replace").rstrip("\0"))
    elif short in ("SID", "UNICODE_STRING", "SECURITY_DESCRIPTOR"):
        _add(node, {"SID": "sid", "UNICODE_STRING": "unicodeString", "SECURITY_DESCRIPTOR": "sd"}[short], value.text)
    elif short in ("FLOAT", "DOUBLE"):
        _add(node, short.lower(), value.hex)
    elif value.number is not None and short.removeprefix("U").startswith("INT"):
        is_flags = field == "FWPM_CONDITION_FLAGS" and short == "UINT32"
        text = _ipv4(value.number) if is_address and short == "UINT32" else str(value.number)
        _add(node, short.lower(), text)
        if is_flags:
            _flags(node, "FWP_CONDITION_FLAG_", value.number, "conditionFlags")


def _ipv4(number: int) -> str:
    return str(IPv4Address(number & 0xFFFFFFFF))


def _ipv6(digits: str) -> str:
    return str(IPv6Address(bytes.fromhex(digits))) if len(digits) == 32 else digits


def _endpoint(digits: str, port: int) -> str:
    address = IPv6Address(bytes.fromhex(digits))
    return endpoint_text(str(address.ipv4_mapped or address), port)


# ---- objects ----


def _session(each: Session) -> etree._Element:
    node = _head("sessionKey", f"{{{each.key}}}", each, "FWPM_SESSION_FLAG_")
    _add(node, "txnWaitTimeoutInMSec", each.wait_ms)
    _add(node, "processId", each.process_id)
    _add(node, "sid", each.sid)
    _add(node, "username", each.user)
    _add(node, "kernelMode", str(each.kernel).lower())
    return node


def _provider(each: Provider) -> etree._Element:
    node = _head("providerKey", key_name(each.key, "FWPM_PROVIDER_"), each, "FWPM_PROVIDER_FLAG_")
    _blob(node, "providerData", each.data, each.data_size)
    _add(node, "serviceName", each.service)
    return node


def _context(each: ProviderContext) -> etree._Element:
    name = key_name(each.key, "FWPM_PROVIDER_CONTEXT_")
    node = _head("providerContextKey", name, each, "FWPM_PROVIDER_CONTEXT_FLAG_")
    _owner(node, each)
    _add(node, "type", _enum_names("FWPM_PROVIDER_CONTEXT_TYPE").get(each.kind, each.kind))
    if each.content is not None:
        _blob(node, "dataBuffer", each.content, each.content_size)
    _add(node, "providerContextId", each.number)
    return node


def _sublayer(each: SubLayer) -> etree._Element:
    node = _head("subLayerKey", key_name(each.key, "FWPM_SUBLAYER_"), each, "FWPM_SUBLAYER_FLAG_")
    _owner(node, each)
    _add(node, "weight", each.weight)
    return node


def _layers(state: EngineState) -> Iterable[etree._Element]:
    """Each layer with its callouts and filters; those of a layer that was not told stand with its key alone."""
    weights = {each.key: each.weight for each in state.sublayers}
    drivers = {each.key: each for each in state.registrations or ()}
    used = {callout.layer for callout in state.callouts} | {each.layer for each in state.filters}
    heads = [(each.key, _layer(each)) for each in sorted(state.layers, key=lambda each: each.number)]
    heads += [(key, _untold_layer(key)) for key in sorted(used - {each.key for each in state.layers})]
    for key, head in heads:
        node = etree.Element("item")
        node.append(head)
        callouts = sorted((each for each in state.callouts if each.layer == key), key=lambda each: each.number)
        _list(node, "callouts", (_callout(each, drivers.get(each.key)) for each in callouts))
        _list(node, "filters", map(_filter, in_order_of_asking([f for f in state.filters if f.layer == key], weights)))
        yield node


def in_order_of_asking(filters: Sequence[Filter], weights: dict[UUID, int]) -> list[Filter]:
    """Filters of one layer: by the weight of their sublayer, then by their own, the heaviest first."""

    def rank(each: Filter) -> tuple[int, str, int, int]:
        own = each.effective_weight.number or 0
        return -weights.get(each.sublayer, -1), str(each.sublayer), -own, each.number

    return sorted(filters, key=rank)


def _layer(each: EngineLayer) -> etree._Element:
    node = _head("layerKey", key_name(each.key, "FWPM_LAYER_"), each, "FWPM_LAYER_FLAG_")
    node.tag = "layer"
    _add(node, "numFields", each.fields)
    _add(node, "defaultSubLayerKey", key_name(each.sublayer, "FWPM_SUBLAYER_"))
    _add(node, "layerId", each.number)
    return node


def _untold_layer(key: UUID) -> etree._Element:
    node = etree.Element("layer")
    _add(node, "layerKey", key_name(key, "FWPM_LAYER_"))
    return node


def _callout(each: Callout, registration: Registration | None) -> etree._Element:
    node = _head("calloutKey", key_name(each.key, "FWPM_CALLOUT_"), each, "FWPM_CALLOUT_FLAG_")
    _owner(node, each)
    _add(node, "applicableLayer", key_name(each.layer, "FWPM_LAYER_"))
    _add(node, "calloutId", each.number)
    if registration is not None:
        _registration(node, registration)
    return node


def _registration(node: etree._Element, each: Registration) -> None:
    _add(node, "driver", each.module)
    _add(node, "registeredBy", f"FwpsCalloutRegister{each.version}")
    _add(node, "flowContexts", each.contexts)
    _add(node, "running", each.running)


def _bare_registration(each: Registration) -> etree._Element:
    node = etree.Element("item")
    _add(node, "calloutKey", key_name(each.key, "FWPM_CALLOUT_"))
    _add(node, "calloutId", each.number)
    _registration(node, each)
    return node


def _filter(each: Filter) -> etree._Element:
    node = _head("filterKey", f"{{{each.key}}}", each, "FWPM_FILTER_FLAG_")
    _owner(node, each)
    _add(node, "layerKey", key_name(each.layer, "FWPM_LAYER_"))
    _add(node, "subLayerKey", key_name(each.sublayer, "FWPM_SUBLAYER_"))
    node.append(_value("weight", each.weight))
    _list(node, "filterCondition", map(_condition, each.conditions))
    action = _add(node, "action")
    _add(action, "type", _action_names().get(each.action, f"{each.action:#x}"))
    if each.action & _CALLOUT_ACTION:
        _add(action, "calloutKey", key_name(each.callout, "FWPM_CALLOUT_"))
    else:
        _add(action, "filterType", None if each.callout == _NOBODY else f"{{{each.callout}}}")
    if each.context is not None:
        _add(node, "providerContextKey", key_name(each.context, "FWPM_PROVIDER_CONTEXT_"))
    else:
        _add(node, "rawContext", each.raw_context)
    _add(node, "filterId", each.number)
    node.append(_value("effectiveWeight", each.effective_weight))
    return node


def _condition(each: Condition) -> etree._Element:
    node = etree.Element("item")
    field = key_name(each.field, "FWPM_CONDITION_")
    _add(node, "fieldKey", field)
    _add(node, "matchType", _enum_names("FWP_MATCH_TYPE").get(each.match, each.match))
    node.append(_value("conditionValue", each.value, field))
    return node


def _flow(each: FlowEntry) -> etree._Element:
    node = etree.Element("item")
    _add(node, "flowId", each.number)
    _add(node, "protocol", each.protocol)
    _add(node, "local", _endpoint(each.local, each.local_port))
    _add(node, "remote", _endpoint(each.remote, each.remote_port))
    if (each.original, each.original_port) != (each.remote, each.remote_port):
        _add(node, "originalRemote", _endpoint(each.original, each.original_port))
    _list(node, "state", (_leaf("item", word) for bit, word in _FLOW_FLAGS.items() if each.flags & bit))
    _add(node, "flowContexts", each.contexts)
    _add(node, "processId", each.process_id)
    return node
