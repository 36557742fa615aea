"""The record of a bugcheck, from a guest that is not trusted, and how it is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.driver.build import build_all, find_built
from harness.driver.contract import Frame
from harness.driver.crash import Crash, CrashSeen, find_record, parse_record
from harness.driver.crash_driver import REMOTE, Wish
from harness.driver.last_events import EVENT_SIZE, EVENTS_TAG, decode_events
from harness.driver.symbols import ModuleNames
from harness.errors import GuestError

GOOD = {
    "code": 0xD1,
    "parameters": ["0x10", "0x2", "0x1", "0xfffff80012345678"],
    "irql": 2,
    "time_100ns": 25_000_000,
    "fault": True,
    "stack": ["x.sys+0x465e", "x.sys+0x10c7", "ntoskrnl.exe+0x1"],
}


def record(**changes: object) -> str:
    return json.dumps(GOOD | changes)


def test_a_record_is_read_with_its_stack() -> None:
    crash = find_record(f"boot\n[ 1.0] wfp-hil: bugcheck: {record()}\nmore\n")

    assert crash is not None
    assert (crash.code, crash.name) == (0xD1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL")
    assert crash.parameters == (0x10, 2, 1, 0xFFFFF80012345678)
    assert crash.stack[0] == Frame("x.sys", 0x465E)
    assert (crash.irql, crash.time, crash.is_fault, crash.source) == (2, 2.5, True, "serial port")


def test_the_first_readable_record_counts() -> None:
    said = f"wfp-hil: bugcheck: {{}}\nwfp-hil: bugcheck: {record()}\nwfp-hil: bugcheck: {record(code=0x7E)}\n"

    assert find_record(said) == parse_record(record())
    assert find_record("wfp-hil: model: bugcheck 0xd1 (0x10, 0x2, 0x1, 0x3)\n") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"code": -1},
        {"code": 1 << 32},
        {"code": True},
        {"code": "0xd1"},
        {"parameters": ["0x1", "0x2", "0x3"]},
        {"parameters": ["0x1", "0x2", "0x3", "0x11111111111111111"]},
        {"parameters": ["0x1", "0x2", "0x3", "4"]},
        {"irql": 16},
        {"irql": None},
        {"time_100ns": -1},
        {"time_100ns": 1 << 64},
        {"fault": 1},
        {"stack": "x.sys+0x1"},
        {"stack": ["../x.sys+0x1"]},
        {"stack": ["x.sys+0x1", 7]},
        {"stack": ["x\x1b[2J.sys+0x1"]},
        {"stack": [f"{'x' * 41}+0x1"]},
        {"pad": "x" * 5000},
    ],
)
def test_what_is_no_such_record_is_none(changes: dict[str, object]) -> None:
    assert parse_record(record(**changes)) is None


@given(st.text())
def test_nothing_that_a_guest_says_breaks_the_reader(text: str) -> None:
    assert find_record(f"wfp-hil: bugcheck: {text}") is None or "wfp-hil" in text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_no_value_of_a_member_breaks_the_reader(value: object) -> None:
    for key in GOOD:
        parse_record(record(**{key: value}))


def test_a_crash_is_blamed_on_the_driver_that_called_the_system() -> None:
    stack = (Frame("ndis.sys", 1), Frame("fwpkclnt.sys", 2), Frame("x.sys", 0x46), Frame("y.sys", 4))
    crash = Crash(code=0xC2, parameters=(7, 0, 0, 9), stack=stack)

    assert crash.place == Frame("x.sys", 0x46)
    assert crash.title() == "bugcheck 0xc2 (0x7, 0x0, 0x0, 0x9) BAD_POOL_CALLER in x.sys+0x46"
    assert Crash(code=0xC2, stack=(Frame("ntoskrnl.exe", 1),)).place == Frame("ntoskrnl.exe", 1)
    assert Crash(code=0xC2).place is None


def test_a_code_without_a_name_is_told_by_its_number() -> None:
    assert Crash(code=0xABC).title() == "bugcheck 0xabc (0x0, 0x0, 0x0, 0x0) (a code without a name here)"


def test_only_the_instruction_that_faulted_is_looked_up_itself() -> None:
    asked: list[tuple[Frame, int]] = []

    def name(frame: Frame, behind: int) -> str:
        asked.append((frame, behind))
        return "f at f.c:1"

    crash = parse_record(record())
    assert crash is not None
    assert crash.lines(name)[0] == "  x.sys+0x465e f at f.c:1"
    assert [behind for _, behind in asked] == [0x465F, 0x10C7, 0x1]
    asked.clear()
    called = parse_record(record(fault=False))
    assert called is not None
    called.lines(name)
    assert [behind for _, behind in asked] == [0x465E, 0x10C7, 0x1]


def test_a_recursion_is_told_once_and_a_long_stack_in_part() -> None:
    again = Crash(code=0x7F, stack=(Frame("x.sys", 1), *[Frame("x.sys", 2)] * 30, Frame("x.sys", 3)))
    assert again.lines() == ["  x.sys+0x1", "  x.sys+0x2 (30 times)", "  x.sys+0x3"]

    many = Crash(code=1, stack=tuple(Frame("x.sys", at) for at in range(20)))
    assert many.lines(most=2) == ["  x.sys+0x0", "  x.sys+0x1", "  and 18 more"]


def test_what_one_source_lacks_comes_from_the_other() -> None:
    of_device = Crash(code=0xD1, parameters=(1, 2, 3, 4), source="panic device")
    of_port = Crash(code=0xD1, stack=(Frame("x.sys", 1),), is_fault=True, irql=2, time=1.0, source="serial port")

    both = of_device.completed_by(of_port)
    assert (both.parameters, both.stack, both.is_fault, both.irql, both.time) == (
        (1, 2, 3, 4),
        of_port.stack,
        True,
        2,
        1.0,
    )
    assert of_port.completed_by(of_device) == of_port


def test_the_error_has_the_title_and_the_stack() -> None:
    crash = parse_record(record())
    assert crash is not None

    error = CrashSeen(crash)

    assert error.message.splitlines()[0] == (
        "The guest crashed: bugcheck 0xd1 (0x10, 0x2, 0x1, 0xfffff80012345678) DRIVER_IRQL_NOT_LESS_OR_EQUAL"
        " in x.sys+0x465e."
    )
    assert error.message.splitlines()[1:] == ["  x.sys+0x465e", "  x.sys+0x10c7", "  ntoskrnl.exe+0x1"]
    assert (error.code, error.parameters[0]) == (0xD1, 0x10)


def test_places_in_several_drivers_are_named() -> None:
    build_all(test_sign=False)
    names = ModuleNames(find_built)

    found = {names(Frame("wfpcrash.sys", at), at + 1).partition(" at ")[0] for at in range(0x1000, 0x1040, 4)}

    assert "use_bad_pointer" in found
    assert names(Frame("unknown.sys", 0x1000), 0x1001) == ""


def test_the_wishes_are_those_of_the_header() -> None:
    text = (Path(__file__).parents[2] / "drivers" / "include" / "wfpcrash.h").read_text()
    assert {name: int(value) for name, value in re.findall(r"WFPCRASH_(\w+) = (\d+)", text)} == {
        wish.name: wish.value for wish in Wish
    }
    (number,) = re.findall(r"WFPCRASH_REMOTE 0x([0-9A-F]{8})u", text)
    assert ".".join(str(byte) for byte in bytes.fromhex(number)) == REMOTE


def events(count: int, size: int = EVENT_SIZE, *, room: int | None = None) -> bytes:
    one = bytearray(size)
    one[0:8] = (7).to_bytes(8, "little")
    one[16] = 1
    one[18:20] = (48).to_bytes(2, "little")
    body = bytes(one) * (count if room is None else room)
    head = count.to_bytes(4, "little") + size.to_bytes(4, "little") + bytes(16)
    return head + body


def test_the_drivers_last_events_are_read_from_a_dump() -> None:
    assert [event["seq"] for event in decode_events(events(3))] == [7, 7, 7]
    assert decode_events(events(1))[0]["layer"] == 48
    assert decode_events(events(0)) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "It has 0 bytes: 24 are wanted"),
        (events(1, EVENT_SIZE - 8), "Its events have 168 bytes: 176 are wanted"),
        (events(2, room=1), "It says to have 2 events"),
        (events(0xFFFFFFFF, room=1), "It says to have 4294967295 events"),
    ],
)
def test_events_that_are_none_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(GuestError, match=words):
        decode_events(data)


def test_the_layout_of_events_is_that_of_the_header() -> None:
    text = (Path(__file__).parents[2] / "drivers" / "include" / "wfpcallout_ioctl.h").read_text()
    (size,) = re.findall(r"WFPCALLOUT_SIZE\(WFPCALLOUT_EVENT, (\d+)\)", text)
    assert int(size) == EVENT_SIZE
    body = text.partition("typedef struct WFPCALLOUT_EVENT {")[2].partition("} WFPCALLOUT_EVENT;")[0]
    members = re.findall(r"^    u?int\d+_t\s+(\w+)", body, re.MULTILINE)
    assert tuple(members) == tuple(decode_events(events(1))[0])
    (tag,) = re.findall(r"/\* \{([0-9A-F-]{36})\}: under it the driver gives its last events", text)
    assert tag.lower() == str(EVENTS_TAG)
