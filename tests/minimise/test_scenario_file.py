"""The scenario that comes out of a search: it says what its packets are, and they are the packets that failed."""

from __future__ import annotations

import ast
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.capture import Capture, Packet
from harness.errors import UsageError
from harness.link.headers import ACK, PSH
from harness.minimise.criterion import parse_criterion
from harness.minimise.packets import capture_of, icmp, raw, readable, tcp, udp, written
from harness.minimise.scenario_file import Provenance, scenario_text
from harness.minimise.search import Search
from harness.minimise.smaller import changed
from harness.minimise.tries import Journal, Tries
from harness.minimise.verdict import CrashPlace, Verdict
from harness.report import Outcome
from tests.minimise.field import GUEST, SERVICE, Talk, field_capture
from tests.minimise.ledger import CRASH, judge

ORIGIN = Provenance(
    source="/home/somebody/field.pcapng",
    packets=2873,
    driver="ledger.sys",
    driver_sha256="ab" * 32,
    guest_title="Reference guest (Debian, Wine, WFP model)",
    criterion="crash",
    seen="3 of 3 attempts",
    guest_address=GUEST,
)


def played(text: str) -> tuple[Capture, dict[str, Any]]:
    """Run the scenario's text with a replay that only looks."""
    seen: list[Any] = []
    space: dict[str, Any] = {}
    exec(compile(text, "scenario.py", "exec"), space)
    test = next(value for name, value in space.items() if name.startswith("test_"))
    test(lambda *packets, **options: seen.append((capture_of(packets), options)))
    return seen[0]


def test_a_search_ends_in_a_scenario_of_a_few_lines(tmp_path: Path) -> None:
    tries = Tries([judge], parse_criterion("crash"), Journal(tmp_path / "tries.jsonl", {}))
    found = Search(field_capture(), tries).run()
    text = scenario_text(found, CRASH, ORIGIN)
    assert text.split("\n\n\n")[1] == (
        "def test_release_ledger_crashed_by_these_packets(replay):\n"
        '    """3 packets by which ledger.sys has crashed in release_ledger leave the guest as it should be."""\n'
        "    replay(\n"
        '        tcp(PEER, GUEST, "S"),\n'
        '        tcp(PEER, GUEST, "PA", seq=2, ack=1, data=b"a"),\n'
        '        tcp(PEER, GUEST, "RA", seq=4, ack=2),\n'
        f'        guest="{GUEST}",\n'
        "    )\n"
    )
    capture, options = played(text)
    assert judge(capture) is CRASH
    assert [packet.data for packet in capture.packets] == [packet.data for packet in found.packets]
    assert options == {"guest": GUEST}
    assert "/home/somebody" not in text


def test_the_text_is_as_the_project_would_write_it(tmp_path: Path) -> None:
    capture = field_capture(connections=4, culprit=1)
    text = scenario_text(changed(capture, capture.conversations(), readable), CRASH, ORIGIN)
    assert all(len(line) <= 120 or line.endswith("# noqa: E501") for line in text.splitlines())
    assert ast.get_docstring(ast.parse(text))
    assert 'b"A" * 400' in text
    assert "PEER_2" in text


def test_packets_of_every_kind_are_what_they_were() -> None:
    six = "2001:db8::7", "2001:db8::2"
    packets = (
        tcp("198.51.100.7:1", "192.0.2.2:80", "S", window=1000),
        tcp("198.51.100.7:1", "192.0.2.2:80", "FPUA", seq=5, ack=9, data=b"'\"\\\0", after=0.25),
        udp("[2001:db8::7]:53", "[2001:db8::2]:5000", data=bytes(range(40))),
        icmp("198.51.100.7", "192.0.2.2", 8, rest=b"\0\1\0\2ping"),
        icmp(*six, 128),
        raw("4500001400004000400600000a0000010a000002"),
        raw("45000030", length=48, after=1e-9),
    )
    capture = capture_of(packets)
    again, _ = played(scenario_text(capture, CRASH, ORIGIN))
    assert again.packets == capture.packets


@given(st.binary(max_size=90), st.sampled_from([b"\x45", b"\x60", b""]), st.integers(0, 10**12))
def test_whatever_a_packet_is_it_can_be_written(data: bytes, start: bytes, pause: int) -> None:
    packet = Packet(1, 0, start + data, len(start + data) + 3)
    second = Packet(2, pause, start + data, len(start + data))
    again, _ = played(scenario_text(Capture((packet, second)), CRASH, ORIGIN))
    assert again.packets == (packet, second)


def test_readable_packets_begin_at_zero_and_lie_as_they_did() -> None:
    talk = Talk(("198.51.100.7", 40000), (GUEST, SERVICE), 5)
    talk.open()
    talk.ask(0, 1)
    talk.overtake()
    before = Capture(tuple(Packet(n, n, data, len(data)) for n, data in enumerate(talk.packets, 1)))
    after = changed(before, before.conversations(), readable)
    segments = [packet.tcp for packet in after.packets]
    assert [(s.seq, s.ack) for s in segments if s] == [
        (0, 0), (0, 1), (1, 1), (1, 1), (1, 401), (801, 1), (1, 401), (1201, 1),
    ]  # fmt: skip
    assert judge(after).crash is not None
    assert "raw(" not in "".join(written(packet, {}) for packet in after.packets)


def test_the_middle_of_a_connection_begins_at_zero_too() -> None:
    talk = Talk(("198.51.100.7", 40000), (GUEST, SERVICE), 5)
    talk.say(0, ACK | PSH, b"data")
    before = Capture((Packet(1, 0, talk.packets[0], len(talk.packets[0])),))
    after = changed(before, before.conversations(), readable)
    assert written(after.packets[0], {}) == ('tcp("198.51.100.7:40000", "10.20.30.40:8080", "PA", ack=1, data=b"data")')


@pytest.mark.parametrize(
    "symbol", ['"""\nimport os\n', "\\", "a\x1b[2J", "\u202e", "x" * 5000, "'''", "}{", "\ud800", "a b(c)::d<e>"]
)
def test_what_a_guest_says_ends_no_string(symbol: str) -> None:
    """A symbol comes from a file that somebody sent, a module's name from the guest."""
    crash = CrashPlace(code=0x139, module=symbol, offset=1, symbol=symbol)
    verdict = Verdict(outcome=Outcome.CRASH, crash=crash)
    origin = replace(ORIGIN, source=symbol, driver=f"{symbol}.sys", criterion=symbol, guest_title=symbol)
    tree = ast.parse(scenario_text(capture_of([tcp("198.51.100.7:1", "192.0.2.2:80", "S")]), verdict, origin))
    assert [type(node).__name__ for node in tree.body] == ["Expr", "ImportFrom", "Assign", "Assign", "FunctionDef"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tcp("198.51.100.7", "192.0.2.2:80", "S"), "'198.51.100.7' is no endpoint"),
        (lambda: tcp("198.51.100.7:70000", "192.0.2.2:80", "S"), "is no endpoint"),
        (lambda: tcp("host:1", "192.0.2.2:80", "S"), "is no endpoint"),
        (lambda: tcp("198.51.100.7:1", "192.0.2.2:80", "SX"), "'X' is none of S F R P A U"),
        (lambda: udp("198.51.100.7:1", "[::1]:80"), "are not of one family"),
    ],
)
def test_a_packet_that_makes_no_sense_is_refused(call: Any, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        call()
    assert said in refused.value.message


def test_a_fragment_is_written_as_it_is() -> None:
    packet = bytearray(udp("198.51.100.7:1", "192.0.2.2:80", data=b"x").data)
    packet[6:8] = b"\x20\0"
    assert written(Packet(1, 0, bytes(packet), len(packet)), {}).startswith('raw("45')
    assert ip_address(bytes(packet[12:16])) == ip_address("198.51.100.7")
