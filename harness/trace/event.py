"""One event of the driver under test, as drivers/include/wfpcallout_ioctl.h defines it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from harness.errors import TransportError
from harness.link.headers import endpoint_text
from harness.wfp import action_name, layer_name, status_name

_PROTOCOLS = {0: "", 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
# FWPS_PACKET_INJECTION_STATE and FWPS_CONNECTION_REDIRECT_STATE, each plus one; 0 = the driver did not ask.
_INJECTION_STATES = ("", "not-injected", "injected-by-self", "injected-by-other", "previously-injected-by-self")
_REDIRECT_STATES = ("", "not-redirected", "redirected-by-self", "redirected-by-other", "previously-redirected-by-self")
# FWP_CONDITION_REAUTHORIZE_REASON_*, of which a classify may have several.
_REASONS = {
    0x1: "policy-change",
    0x2: "new-arrival-interface",
    0x4: "new-nexthop-interface",
    0x8: "profile-crossing",
    0x10: "classify-completion",
    0x20: "ipsec-properties-changed",
    0x40: "mid-stream-inspection",
    0x80: "socket-property-changed",
    0x100: "new-inbound-mcast-bcast-packet",
    0x200: "edp-policy-changed",
    0x4000: "proxy-handle-changed",
    0x10000: "check-offload",
}
# FWPS_STREAM_ACTION_TYPE, and FWPS_STREAM_FLAG_* by their names without the prefix.
_STREAM_ACTIONS = ("", "need-more-data", "drop-connection", "defer", "allow-connection")
_STREAM_FLAGS = {
    0x1: "RECEIVE",
    0x2: "RECEIVE_EXPEDITED",
    0x4: "RECEIVE_DISCONNECT",
    0x8: "RECEIVE_ABORT",
    0x10: "RECEIVE_PUSH",
    0x10000: "SEND",
    0x20000: "SEND_EXPEDITED",
    0x40000: "SEND_NODELAY",
    0x80000: "SEND_DISCONNECT",
    0x100000: "SEND_ABORT",
}


class EventKind(StrEnum):
    """What an event tells; in the order of enum WFPCALLOUT_EVENT_KIND, from 1."""

    CLASSIFY = "classify"
    REDIRECT = "redirect"
    INJECT = "inject"
    INJECT_COMPLETE = "inject-complete"
    FLOW_ASSOCIATE = "flow-associate"
    FLOW_DELETE = "flow-delete"
    NOTIFY = "notify"
    MARKER = "marker"
    RULE_ADDED = "rule-added"
    RULE_REMOVED = "rule-removed"
    SELF = "self"
    LAB = "lab"
    LAB_CLASSIFY = "lab-classify"
    PEND = "pend"
    COMPLETE = "complete"
    PLAY_STEP = "play-step"
    PLAY_CLASSIFY = "play-classify"
    PLAY_DELETED = "play-deleted"


_KINDS = tuple(EventKind)
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[0-9]{1,10})?|")
_TOLD = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the trace. Addresses are text, `192.0.2.2:80`, and empty where the event has none.

    `reauthorized` is why a flow was authorized again, such as 'policy-change'; empty where it was not.
    """

    seq: int
    time: float
    kind: EventKind
    layer: str = ""
    status: int = 0
    action: str = ""
    rights: int = 0
    rule: int = 0
    filter_id: int = 0
    flow_id: int = 0
    flow_context: int = 0
    value: int = 0
    local: str = ""
    remote: str = ""
    redirected_to: str = ""
    protocol: str = ""
    process_id: int = 0
    condition_flags: int = 0
    metadata: int = 0
    data_length: int = 0
    injection_state: str = ""
    redirect_state: str = ""
    reauthorized: str = ""
    slot: int = 0
    irql: int = 0
    stream_action: str = ""
    stream_flags: str = ""
    stream_offset: int = 0
    stream_missed: int = 0
    stream_enforced: int = 0
    classify_flags: int = 0

    @property
    def status_name(self) -> str:
        """Name of the status, such as 'STATUS_OBJECT_NAME_EXISTS'."""
        return status_name(self.status)

    def as_record(self) -> dict[str, object]:
        """All members, for events.jsonl."""
        return asdict(self) | {"status_name": self.status_name}

    def __str__(self) -> str:
        words = [f"event {self.seq}", str(self.kind)]
        words += [word for word in (self.layer, self.action, self.protocol) if word]
        if self.local or self.remote:
            words.append(f"{self.local or '-'} -> {self.remote or '-'}")
        if self.redirected_to:
            words.append(f"to {self.redirected_to}")
        if self.status:
            words.append(self.status_name)
        for name in ("rule", "flow_id", "flow_context", "value"):
            number = getattr(self, name)
            if number:
                words.append(f"{name}={number}")
        if self.stream_flags:
            words.append(f"{self.stream_flags} at {self.stream_offset}, {self.data_length} bytes")
        if self.stream_action:
            words.append(self.stream_action)
        words += [word for word in (self.injection_state, self.redirect_state) if word]
        if self.reauthorized:
            words.append(f"reauthorized: {self.reauthorized}")
        return " ".join(words)


def parse_event(record: Mapping[str, Any]) -> Event:
    """An event from the JSON that the probe prints.

    Raises TransportError when it is not one.
    """
    try:
        kind = _kind(record["kind"])
        return Event(
            seq=int(record["seq"]),
            time=int(record.get("time_100ns", 0)) / 1e7,
            kind=kind,
            layer=_layer(record.get("layer", 0), kind),
            status=int(record.get("status", 0)) & 0xFFFFFFFF,
            action=_action(record.get("action", 0)),
            rights=int(record.get("rights", 0)),
            rule=int(record.get("rule", 0)),
            filter_id=int(record.get("filter_id", 0)),
            flow_id=int(record.get("flow_id", 0)),
            flow_context=int(record.get("flow_context", 0)),
            value=int(record.get("value", 0)),
            local=_endpoint(record, "local"),
            remote=_endpoint(record, "remote"),
            redirected_to=_endpoint(record, "new"),
            protocol=_PROTOCOLS.get(int(record.get("protocol", 0)), str(record.get("protocol"))),
            process_id=int(record.get("process_id", 0)),
            condition_flags=int(record.get("condition_flags", 0)),
            metadata=int(record.get("metadata", 0)),
            data_length=int(record.get("data_length", 0)),
            injection_state=_INJECTION_STATES[int(record.get("injection_state", 0))],
            redirect_state=_REDIRECT_STATES[int(record.get("redirect_state", 0))],
            reauthorized=" ".join(_bits(int(record.get("reauthorize_reason", 0)), _REASONS)),
            slot=int(record.get("slot", 0)),
            irql=int(record.get("irql", 0)),
            stream_action=_STREAM_ACTIONS[int(record.get("stream_action", 0))],
            stream_flags="|".join(_bits(int(record.get("stream_flags", 0)), _STREAM_FLAGS)),
            stream_offset=int(record.get("stream_offset", 0)),
            stream_missed=int(record.get("stream_missed", 0)),
            stream_enforced=int(record.get("stream_enforced", 0)),
            classify_flags=int(record.get("classify_flags", 0)),
        )
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, AttributeError) as error:
        raise TransportError(
            f"The probe printed an event that cannot be read ({error!r}): {str(record)[:_TOLD]!r}.",
            hint="Driver, probe and harness may be of different versions: 'make -C drivers'.",
        ) from error


def _kind(value: object) -> EventKind:
    if isinstance(value, str) and not value.isdigit():
        return EventKind(value.lower().replace("_", "-"))
    number = int(str(value))
    if not 1 <= number <= len(_KINDS):
        raise ValueError(f"kind {number}")
    return _KINDS[number - 1]


def _layer(value: object, kind: EventKind) -> str:
    if isinstance(value, str) and not value.isdigit():
        return value.removeprefix("FWPS_LAYER_")
    number = int(str(value))
    # Layer 0 is a real one; in events that have no layer it stands for nothing.
    has_layer = kind in (EventKind.CLASSIFY, EventKind.SELF, EventKind.INJECT, EventKind.LAB_CLASSIFY)
    return layer_name(number) if number or has_layer else ""


def _action(value: object) -> str:
    if isinstance(value, str) and not value.isdigit():
        return value.lower()
    number = int(str(value))
    return action_name(number).lower() if number else ""


def _bits(value: int, names: Mapping[int, str]) -> list[str]:
    """A name for each bit that has one, and the rest as a number."""
    known = [name for bit, name in names.items() if value & bit]
    rest = value & ~sum(names)
    return [*known, f"{rest:#x}"] if rest else known


def _endpoint(record: Mapping[str, Any], which: str) -> str:
    address, port = str(record.get(f"{which}_addr", "") or ""), int(record.get(f"{which}_port", 0) or 0)
    empty = address in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
    if empty and not port:
        return ""
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"address {address[:60]!r}")
    return endpoint_text(address, port)
