"""The numbers of drivers/include/wfpcallout_ioctl.h, and addresses as text."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from ipaddress import ip_address

from harness.errors import UsageError

PROTOCOLS = {"": 0, "any": 0, "icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}


# Of enum WFPCALLOUT_EVENT_KIND and enum WFPCALLOUT_PLAY_OP, what takes sequences apart.
EVENT_PLAY_STEP, EVENT_PLAY_CLASSIFY, EVENT_PLAY_DELETED = 16, 17, 18
PLAY_RESET = 1


class Action(IntEnum):
    """enum WFPCALLOUT_ACTION: what classifyFn does with what a rule matched."""

    PERMIT = 1
    BLOCK = 2
    CONTINUE = 3
    REDIRECT = 4
    REINJECT = 5
    REPLACE = 6
    REWRITE = 7
    FLOW_CONTEXT = 8
    SOFT_BLOCK = 9
    HARD_PERMIT = 10
    ABSORB = 11
    PEND = 20
    PEND_CLASSIFY = 21
    STREAM_NEED_MORE = 32
    STREAM_DEFER = 33
    STREAM_REPLACE = 34
    STREAM_INSERT = 35
    STREAM_REMOVE = 36
    STREAM_REINJECT = 37
    STREAM_DROP = 38
    STREAM_ALLOW = 39


class RuleFlag(IntFlag):
    """enum WFPCALLOUT_RULE_FLAGS: ways to do it, most of them wrong on purpose."""

    FLOW_ASSOCIATE_TWICE = 0x01
    FLOW_ZERO_CONTEXT = 0x02
    FLOW_NO_DELETE_FN = 0x04
    FORGET_PERMIT = 0x08
    NO_REDIRECT_HANDLE = 0x10
    IGNORE_STATE = 0x20
    SILENT = 0x40
    CLEAR_ACTION_RIGHT = 0x80
    NO_TARGET_PID = 0x100
    HOLD = 0x200
    PORT_RESERVATION = 0x400
    SOFT_PERMIT = 0x800
    PEND_REAUTHORIZE = 0x10000
    PEND_AT_ONCE = 0x20000


class Completion(IntEnum):
    """enum WFPCALLOUT_COMPLETION: how something that was put off ends."""

    PERMIT = 1
    BLOCK = 2
    REDIRECT = 3
    AGAIN = 4


class FilterAction(IntEnum):
    """enum WFPCALLOUT_FILTER_ACTION: the type of the filter that calls the callout."""

    TERMINATING = 0
    INSPECTION = 1
    UNKNOWN = 2


class StreamDirection(IntEnum):
    """`stream_direction` of WFPCALLOUT_RULE: which bytes a rule of the stream layer is for, seen from the guest."""

    BOTH = 0
    OUT = 1
    IN = 2


class InjectPath(IntEnum):
    """enum WFPCALLOUT_INJECT_PATH: which injection function is called. An event may have the last two."""

    NETWORK_SEND = 1
    NETWORK_RECEIVE = 2
    TRANSPORT_SEND = 3
    TRANSPORT_RECEIVE = 4
    MAC_SEND = 5
    MAC_RECEIVE = 6
    FORWARD = 7
    STREAM = 16
    STREAM_CONTINUE = 17


class LabOp(IntEnum):
    """enum WFPCALLOUT_LAB_OP: single WFP calls."""

    CALLOUT_REGISTER = 1
    CALLOUT_UNREGISTER = 2
    CALLOUT_ADD = 3
    CALLOUT_DELETE = 4
    SUBLAYER_ADD = 5
    SUBLAYER_DELETE = 6
    FILTER_ADD = 7
    FILTER_DELETE = 8
    TXN_BEGIN = 9
    TXN_COMMIT = 10
    TXN_ABORT = 11
    INJECTION_CREATE = 12
    INJECTION_DESTROY = 13
    FLOW_REMOVE_CONTEXT = 14
    UNREGISTER_BUSY = 15
    RECREATE_INJECTION = 16
    CRASH = 17
    FLOW_ABORT = 18
    HANG = 19


class CrashPlace(IntEnum):
    """enum WFPCALLOUT_CRASH_PLACE: where the driver is to crash, or to hang."""

    NOW = 1
    DISPATCH = 2
    BUGCHECK = 3
    CLASSIFY = 4
    WORKER = 5
    UNLOAD = 6


def protocol_number(name: str) -> int:
    """Number of an IP protocol: 'tcp' is 6, '' is any."""
    if name.lower() not in PROTOCOLS:
        raise UsageError(f"Protocol '{name}' is not known.", hint=f"Known: {', '.join(filter(None, PROTOCOLS))}.")
    return PROTOCOLS[name.lower()]


def split_endpoint(text: str) -> tuple[str, int]:
    """Address and port of '1.2.3.4:80', '[::1]:80', '1.2.3.4', '::1' or ':80'; port 0 and address '' where absent.

    Raises UsageError when it is none of these.
    """
    address, port = text, "0"
    if text.startswith("["):
        address, closing, rest = text[1:].partition("]")
        port = (rest.removeprefix(":") or "0") if closing else "no closing bracket"
    elif text.count(":") == 1:
        address, port = text.split(":")
    try:
        if address:
            address = str(ip_address(address))
        number = int(port)
    except ValueError as error:
        raise UsageError(f"'{text}' is not an address with a port.", hint="Like '198.51.100.5:80'.") from error
    if not 0 <= number <= 0xFFFF:
        raise UsageError(f"Port {number} in '{text}' is out of range.", hint="Ports go from 0 to 65535.")
    return address, number
