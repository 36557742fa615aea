"""Edits of TCP streams: what one end sends, what a callout makes of it, what the other end reads, byte for byte."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.driver.interface import StreamDirection
from harness.expect import expect

SERVERS = {4: "198.51.100.5:80", 6: "[2001:db8:99::5]:80"}
TABLE = tomllib.loads((Path(__file__).parent / "edits.toml").read_text())
EDITS = {edit["id"]: edit for edit in TABLE["edit"]}
WAYS = (StreamDirection.OUT, StreamDirection.IN)
# Each edit goes both ways, one of them over IPv6: by turns this one and that one.
CLEAN = [
    pytest.param(
        edit["id"], way, version := 4 if (place + turn) % 2 else 6, id=f"{edit['id']}-{way.name.lower()}-ipv{version}"
    )
    for place, edit in enumerate(TABLE["edit"])
    for turn, way in enumerate(WAYS)
    if edit.get("only", way.name.lower()) == way.name.lower()
]
# The word lies across what fits into a segment, and once across pieces of any size.
TEXT = b"".join(
    f"{number:05d} the {'secret' if number % 5 == 0 else 'number'} of line {number} sec".encode()
    for number in range(200)
)


def apply(name: str, driver, way: StreamDirection, version: int) -> bytes:
    """Add the edit's rule for one direction; what is to become of TEXT."""
    edit = EDITS[name]
    arguments = {key: value.encode() if isinstance(value, str) else value for key, value in edit["arguments"].items()}
    if arguments.get("offset") == -1:
        arguments["offset"] = len(TEXT)
    getattr(driver, f"stream_{edit['edit']}")(**arguments, remote=SERVERS[version], direction=way)
    offset = arguments.get("offset", 0)
    match edit["edit"]:
        case "replace":
            return TEXT.replace(arguments["pattern"], arguments["replacement"])
        case "insert":
            return TEXT[:offset] + arguments["data"] + TEXT[offset:]
        case "remove":
            return TEXT[:offset] + TEXT[offset + arguments["length"] :]
        case _:
            return TEXT


def expect_the_edit(trace, name: str, way: StreamDirection, version: int) -> None:
    """The driver says that it did what was asked, and that nothing it did was refused."""
    sign = "SEND" if way is StreamDirection.OUT else "RECEIVE"
    expect(trace).some(kind="classify", layer=f"STREAM_V{version}", stream_flags=lambda flags: flags.startswith(sign))
    expect(trace).none(kind="inject", status=lambda status: status != "STATUS_SUCCESS")
    match EDITS[name]["edit"]:
        case "replace" | "remove" | "reinject":
            expect(trace).some(kind="classify", action="block")
        case "insert":
            expect(trace).one(kind="inject-complete", status="STATUS_SUCCESS")
        case "need_more":
            expect(trace).some(kind="classify", stream_action="need-more-data")
        case "defer":
            expect(trace).one(kind="classify", stream_action="defer")


@pytest.mark.rule("W226", "W279", "W283", "W293", "W294")
@pytest.mark.parametrize(("name", "way", "version"), CLEAN)
def test_each_end_reads_what_the_edit_makes(driver, converse, trace, fence, name, way, version):
    """What the other end reads is exactly the edited stream, and it ends as it was closed."""
    wanted = apply(name, driver, way, version)

    read = converse(version).carry(way, TEXT, pieces=900)
    fence()

    expect(read).equals(wanted)
    expect_the_edit(trace, name, way, version)


@pytest.mark.rule("W279", "W283", "W296")
@pytest.mark.parametrize("case", TABLE["worse"], ids=lambda case: f"{case['edit']}-{case['direction']}")
def test_each_end_reads_it_over_a_bad_wire(driver, converse, impair, trace, fence, case):
    """Losses, repetitions and reorderings on the wire change nothing of what the other end reads."""
    way, version = StreamDirection[case["direction"].upper()], case["version"]
    wanted = apply(case["edit"], driver, way, version)
    conversation = converse(version)
    wire = impair(**case["wire"])

    read = conversation.carry(way, TEXT, pieces=case["pieces"])
    fence()

    expect(read).equals(wanted)
    for done, chosen in (("lost", "lose"), ("repeated", "repeat")):
        expect((done, wire.total(done))).equals((done, 2 * len(case["wire"].get(chosen, []))))
    expect_the_edit(trace, case["edit"], way, version)
