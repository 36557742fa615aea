"""Filtering layers: run-time id, key and fields, under the names of FWPS_BUILTIN_LAYERS without their prefix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from uuid import UUID

from harness.errors import UsageError
from harness.wfp.data import load

PREFIXES = ("FWPS_LAYER_", "FWPM_LAYER_")


@dataclass(frozen=True, slots=True)
class Layer:
    """One filtering layer."""

    name: str  # "ALE_AUTH_CONNECT_V4"
    id: int  # the run-time id that classifyFn sees
    guid: UUID | None  # the key that FwpmFilterAdd0 takes; two reserved layers have none
    fields: tuple[str, ...]  # "IP_REMOTE_PORT" at its index in incomingValue[]


@cache
def all_layers() -> dict[str, Layer]:
    """Every layer by its short name."""
    fields = load("fields")["layers"]
    layers = {}
    for entry in load("layers")["layers"]:
        name = bare(entry["name"])
        prefix = f"FWPS_FIELD_{name}_"
        slots = fields.get(entry["name"], {}).get("fields", [])
        layers[name] = Layer(
            name=name,
            id=entry["id"],
            guid=UUID(entry["guid"]) if entry["guid"] else None,
            fields=tuple(slot["name"].removeprefix(prefix) for slot in sorted(slots, key=lambda slot: slot["i"])),
        )
    return layers


def bare(name: str) -> str:
    """The name of a layer without FWPS_LAYER_ or FWPM_LAYER_."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def find(name: str) -> Layer:
    """The layer of that name, with or without the kit's prefix."""
    layer = all_layers().get(bare(name).upper())
    if layer is None:
        wanted = [known for known in all_layers() if bare(name).upper().removesuffix("_V4") in known]
        hint = f"near it: {', '.join(wanted[:4])}" if wanted else "see harness/wfp/data/layers.json"
        raise UsageError(f"There is no filtering layer named {name!r}.", hint=hint)
    return layer


def layer_id(name: str) -> int:
    """The run-time id of a layer."""
    return find(name).id


def layer_guid(name: str) -> UUID:
    """The key of a layer."""
    guid = find(name).guid
    if guid is None:
        raise UsageError(f"The layer {name!r} is reserved and has no published key.")
    return guid


@cache
def names_by_id() -> dict[int, str]:
    """Short names by run-time id."""
    return {layer.id: layer.name for layer in all_layers().values()}


def layer_name(number: int) -> str:
    """The short name of a run-time id; an unknown id is shown as it is."""
    return names_by_id().get(number, f"LAYER_{number}")


def layer_of_guid(key: UUID | str) -> str:
    """The short name of the layer with that key; an unknown key is shown as it is."""
    wanted = key if isinstance(key, UUID) else UUID(key)
    return next((layer.name for layer in all_layers().values() if layer.guid == wanted), f"{{{wanted}}}")


def field_names(name: str) -> tuple[str, ...]:
    """What stands in incomingValue[], in order: ("APP_ID", "USER_ID", ...)."""
    return find(name).fields


def field_index(name: str, field: str) -> int:
    """The index of a field in incomingValue[] at a layer."""
    fields = field_names(name)
    if field not in fields:
        raise UsageError(f"The layer {name} has no field {field!r}.", hint=f"it has {', '.join(fields)}")
    return fields.index(field)
