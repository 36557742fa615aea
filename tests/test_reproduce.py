"""A capture from the field on a real machine, as a user runs it; the link tells what became of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.capture import Capture, read
from harness.link.headers import ACK, PSH, RST, SYN
from harness.process import run
from harness.traffic.address import pack_address
from harness.waiting import Deadline
from tests.reproduce.stories import GUEST, PEER, Story
from tests.running import ROOT, WFP_HIL, results_of

GUEST6, PEER6 = "fd00:1::5", "2001:db8:7::7"
SCANNED = range(31000, 31008)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]


def field_capture() -> Story:
    """Connections both ways, over both families, in the middle of which one began; datagrams and pings."""
    story = Story()
    for port in SCANNED:
        story.tcp((GUEST, port), (PEER, port)).open().segment(True, RST | ACK)
    story.udp((GUEST, 30053), (PEER, 53), b"where is it?")
    story.udp((PEER, 53), (GUEST, 30053), b"there")
    out = story.tcp((GUEST, 30001), (PEER, 80)).open().say(b"GET /login")
    served = story.tcp((PEER, 40001), (GUEST, 8080)).open().say(b"question " * 300)
    out.answer(b"page " * 4000)
    served.answer(b"answer " * 1000)
    served.segment(True, ACK | PSH, b"late", ahead=5, moves=False)
    served.segment(True, ACK | PSH, b"firstlate")
    served.segment(True, ACK | PSH, b"firstlate", back=9)
    story.icmp(PEER, GUEST, 8, 0, b"\0\7\0\1ping")
    story.icmp(GUEST, PEER, 0, 0, b"\0\7\0\1ping")
    out.close()
    served.answer(b"done").close()
    story.tcp((GUEST6, 30002), (PEER6, 443)).open().say(b"six").answer(b"SIX" * 1000, size=1400).close(by_client=False)
    story.tcp((PEER, 40002), (GUEST, 8081)).open().say(b"reset me").segment(True, RST | ACK)
    story.tcp((PEER, 40003), (GUEST, 8082), client_seq=77).say(b"begun before").answer(b"indeed").close()
    return story


def test_a_capture_is_played_again(tmp_path: Path) -> None:
    capture, out = tmp_path / "field.pcapng", tmp_path / "out"
    field_capture().capture().write(capture)
    done = run(
        [
            *(WFP_HIL, "reproduce", capture, "--out", out, "--history", "off"),
            *("--guest-address", GUEST, "--guest-address", GUEST6),
        ],
        cwd=ROOT,
        deadline=Deadline(500),
        check=False,
    )
    text = done.stdout + done.stderr
    assert done.exit_code == 0, text[-5000:]
    assert "The guest plays 10.0.0.5 and fd00:1::5: as it was asked for." in text
    (result,) = results_of(out)
    assert result["outcome"] == "PASS", text[-5000:]
    told = [departure["text"] for departure in result["departures"]]
    assert [text for text in told if "More acknowledgements" not in text] == [
        "The connection began before the capture does: it is opened with a handshake of its own."
    ]
    frames = read(Path(result["folder"]) / "frames.pcapng")
    guest, peer = pack_address("192.0.2.2"), pack_address(PEER)
    assert said(frames, guest) == b"answer " * 1000 + b"done"
    assert said(frames, peer) == b"question " * 300 + b"firstlate"
    for port in SCANNED:  # connected, and reset at once: the guest's driver has to see them established all the same
        flags = [
            p.tcp.flags for p in frames.packets if p.tcp and p.ip and p.ip.source == guest if p.tcp.source_port == port
        ]
        assert flags[:2] == [SYN, ACK]
        assert any(each & RST for each in flags)


def said(frames: Capture, source: bytes) -> bytes:
    """What one end of the connection to port 8080 sent, in the order of its sequence numbers."""
    parts: dict[int, bytes] = {}
    for packet in frames.packets:
        tcp, ip = packet.tcp, packet.ip
        if tcp is None or ip is None or ip.source != source or 8080 not in (tcp.source_port, tcp.destination_port):
            continue
        if tcp.payload:
            parts[tcp.seq] = max(parts.get(tcp.seq, b""), tcp.payload, key=len)
    stream = bytearray()
    begin = next(iter(parts))  # the first that was sent is the first of the stream
    for seq, payload in sorted(parts.items(), key=lambda part: (part[0] - begin) & 0xFFFFFFFF):
        at = (seq - begin) & 0xFFFFFFFF
        assert at <= len(stream), "there is a hole"
        stream[at : at + len(payload)] = payload
    return bytes(stream)
