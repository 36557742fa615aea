"""Numbers to names and back: actions, NTSTATUS values, GUIDs and the other constants of the kit."""

from __future__ import annotations

from functools import cache
from uuid import UUID

from harness.errors import UsageError
from harness.wfp.data import load

ACTIONS = {
    "BLOCK": 0x1001,
    "PERMIT": 0x1002,
    "CALLOUT_TERMINATING": 0x5003,
    "CALLOUT_INSPECTION": 0x6004,
    "CALLOUT_UNKNOWN": 0x4005,
    "CONTINUE": 0x2006,
    "NONE": 0x7,
    "NONE_NO_MATCH": 0x8,
}


def action_name(value: int) -> str:
    """FWP_ACTION_* without its prefix."""
    return next((name for name, number in ACTIONS.items() if number == value), f"ACTION_{value:#x}")


def action_value(name: str) -> int:
    """The value of FWP_ACTION_<name>."""
    short = name.upper().removeprefix("FWP_ACTION_")
    if short not in ACTIONS:
        raise UsageError(f"There is no filter action named {name!r}.", hint=f"the actions are {', '.join(ACTIONS)}")
    return ACTIONS[short]


@cache
def statuses() -> dict[int, str]:
    """NTSTATUS names by unsigned value."""
    return {value: name for name, value in load("ntstatus")["status"].items()}


def status_name(status: int) -> str:
    """The name of an NTSTATUS, given signed or unsigned; an unknown one is shown in hexadecimal."""
    return statuses().get(status & 0xFFFFFFFF, f"{status & 0xFFFFFFFF:#010x}")


def status_value(name: str) -> int:
    """The unsigned value of an NTSTATUS name."""
    value = load("ntstatus")["status"].get(name)
    if value is None:
        raise UsageError(f"There is no NTSTATUS named {name!r}.", hint="see harness/wfp/data/ntstatus.json")
    return int(value)


def status_ok(status: int) -> bool:
    """NT_SUCCESS: also true of informational codes such as STATUS_OBJECT_NAME_EXISTS."""
    return status & 0xFFFFFFFF < 0x80000000


@cache
def constants() -> dict[str, int]:
    """Every macro and enumerator of the kit by its full name."""
    facts = load("constants")
    values: dict[str, int] = {**facts["macros"], **facts["extra"]}
    for members in facts["enums"].values():
        values.update(members)
    return values


def constant(name: str) -> int:
    """The value of a macro or enumerator: constant("FWPS_METADATA_FIELD_FLOW_HANDLE")."""
    if name not in constants():
        raise UsageError(f"The kit has no constant named {name!r}.", hint="see harness/wfp/data/constants.json")
    return constants()[name]


@cache
def guids() -> dict[str, UUID]:
    """Every GUID of the kit by its full name."""
    return {name: UUID(text) for family in load("guids")["guids"].values() for name, text in family.items()}


def guid(name: str) -> UUID:
    """A GUID by name: guid("FWPM_CONDITION_IP_REMOTE_PORT")."""
    if name not in guids():
        raise UsageError(f"The kit has no GUID named {name!r}.", hint="see harness/wfp/data/guids.json")
    return guids()[name]
