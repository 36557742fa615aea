"""What the guest's filter engine holds: objects as the management functions of user mode enumerate them.

The probe asks Windows' fwpuclnt.dll or the reference guest's, and prints what they gave; here it is checked, as all
that comes from a guest. Keys are lower-case GUIDs, `flags` and types the numbers of the kit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from harness.errors import GuestError

if TYPE_CHECKING:
    from harness.guest.probe import ProbeClient

_SECONDS = 30.0
_Word = Annotated[int, Field(ge=0, lt=1 << 32)]
_Long = Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)]
_Hex = Annotated[str, Field(pattern="^([0-9a-f]{2})*$")]
_Address = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


def _whole(text: object) -> object:
    # UTF-16 of a guest may hold halves of surrogate pairs, which no other encoding takes.
    if not isinstance(text, str):
        return text
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half.group()):04x}", text)


_Text = Annotated[str, BeforeValidator(_whole)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Value(_Told):
    """FWP_VALUE0 or FWP_CONDITION_VALUE0: what there is of it by its type; `mask` is a prefix length for IPv6."""

    type: _Word
    number: _Long | None = None
    mask: _Word | None = None
    hex: _Hex | None = None
    text: _Text | None = None
    low: Value | None = None
    high: Value | None = None


class _Named(_Told):
    key: UUID
    name: _Text | None = None
    description: _Text | None = None
    flags: _Word


class _Owned(_Named):
    provider: UUID | None = None
    data: _Hex = ""
    data_size: int = Field(ge=0, default=0)


class Session(_Named):
    """FWPM_SESSION0."""

    wait_ms: _Word
    process_id: _Word
    sid: _Text | None = None
    user: _Text | None = None
    kernel: bool


class Provider(_Owned):
    """FWPM_PROVIDER0."""

    service: _Text | None = None


class SubLayer(_Owned):
    """FWPM_SUBLAYER0."""

    weight: _Word


class ProviderContext(_Owned):
    """FWPM_PROVIDER_CONTEXT0; `content` of the kind FWPM_GENERAL_CONTEXT alone."""

    kind: _Word
    number: _Long
    content: _Hex | None = None
    content_size: int = Field(ge=0, default=0)


class EngineLayer(_Named):
    """FWPM_LAYER0, without the fields: `harness.wfp.field_names` knows them."""

    number: _Word
    fields: _Word
    sublayer: UUID


class Callout(_Owned):
    """FWPM_CALLOUT0."""

    layer: UUID
    number: _Word


class Condition(_Told):
    """FWPM_FILTER_CONDITION0."""

    field: UUID
    match: _Word
    value: Value


class Filter(_Owned):
    """FWPM_FILTER0; `callout` is the filterType where the action names no callout."""

    layer: UUID
    sublayer: UUID
    weight: Value
    effective_weight: Value
    action: _Word
    callout: UUID
    context: UUID | None = None
    raw_context: _Long | None = None
    number: _Long
    conditions: tuple[Condition, ...]


class Registration(_Told):
    """FwpsCalloutRegister, which only the reference guest tells of: `module` is the driver that the callout lies in."""

    key: UUID
    number: _Word
    version: _Word
    contexts: _Word
    running: _Word
    module: _Text = Field(max_length=32)


class FlowEntry(_Told):
    """A flow, which only the reference guest tells of; addresses as 32 digits, IPv4 as ::ffff:a.b.c.d."""

    number: _Long
    local: _Address
    remote: _Address
    original: _Address
    local_port: _Word
    remote_port: _Word
    original_port: _Word
    protocol: _Word
    flags: _Word
    contexts: _Word
    process_id: _Word


class Unread(_Told):
    """A kind of object that could not be read, and the error of the function that refused."""

    what: _Text
    code: _Word


class EngineState(_Told):
    """All of it. `registrations` and `flows` are None where the engine does not tell of them, as on Windows."""

    sessions: tuple[Session, ...]
    providers: tuple[Provider, ...]
    provider_contexts: tuple[ProviderContext, ...]
    sublayers: tuple[SubLayer, ...]
    layers: tuple[EngineLayer, ...]
    callouts: tuple[Callout, ...]
    filters: tuple[Filter, ...]
    registrations: tuple[Registration, ...] | None = None
    flows: tuple[FlowEntry, ...] | None = None
    flow_count: _Word = 0
    errors: tuple[Unread, ...] = ()


def parse_engine_state(reply: dict[str, Any]) -> EngineState:
    """What the probe printed. Raises GuestError when it is not what a probe prints."""
    try:
        return EngineState.model_validate(reply)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "it is nested too deep"}
        where = ".".join(str(part) for part in first["loc"])
        raise GuestError(
            f"The state of the filter engine that the probe printed is wrong at '{where}': {first['msg']}."
        ) from error


def read_engine_state(probe: ProbeClient) -> EngineState:
    """Ask the guest. Raises ProbeError when its engine cannot be opened, GuestError, TransportError."""
    return parse_engine_state(probe.request("wfp_state", seconds=_SECONDS))
