"""The last events of the reference callout driver as they stand in a dump: what IOCTL_WFPCALLOUT_READ_EVENTS gives.

drivers/include/wfpcallout_ioctl.h has the structures, little-endian; addresses are in network byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from harness.errors import GuestError

EVENTS_TAG = UUID("7d3a5b0e-5f5c-4f1b-9b8e-2f6c1d0a7e31")
"""WFPCALLOUT_CRASH_DATA: under which the driver gives its events for a dump."""

_HEAD = struct.Struct("<IIQQ")
_EVENT = struct.Struct("<QQBBHiIIQQQQQ16s16s16sHHHBBIIIIBBBBIQIIII")
_NAMES = (
    "seq", "time_100ns", "kind", "irql", "layer", "status", "action", "rights", "rule", "filter_id", "flow_id",
    "flow_context", "value", "local_addr", "remote_addr", "new_addr", "local_port", "remote_port", "new_port",
    "protocol", "family", "process_id", "condition_flags", "metadata", "data_length", "injection_state",
    "redirect_state", "slot", "stream_action", "reauthorize_reason", "stream_offset", "stream_flags", "stream_missed",
    "stream_enforced", "classify_flags",
)  # fmt: skip
EVENT_SIZE = _EVENT.size
_MOST = 4096


def decode_events(data: bytes) -> list[dict[str, Any]]:
    """The events, oldest first, as the probe prints them.

    Raises GuestError when it is not what the driver of this version writes.
    """
    if len(data) < _HEAD.size:
        raise GuestError(f"It has {len(data)} bytes: {_HEAD.size} are wanted at least.")
    count, size, _, _ = _HEAD.unpack_from(data)
    if size != _EVENT.size:
        raise GuestError(f"Its events have {size} bytes: {_EVENT.size} are wanted, as this version has them.")
    if count > _MOST or _HEAD.size + count * size > len(data):
        raise GuestError(f"It says to have {count} events, and has {len(data)} bytes.")
    return list(_events(data, count))


def _events(data: bytes, count: int) -> Iterator[dict[str, Any]]:
    for at in range(count):
        record: dict[str, Any] = dict(zip(_NAMES, _EVENT.unpack_from(data, _HEAD.size + at * _EVENT.size), strict=True))
        for name in ("local_addr", "remote_addr", "new_addr"):
            record[name] = _address(record[name], record["family"])
        yield record


def _address(raw: bytes, family: int) -> str:
    if family == 4:
        return str(IPv4Address(raw[:4]))
    return str(IPv6Address(raw)) if family == 6 else ""
