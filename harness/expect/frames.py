"""Frames and events as records to compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from harness.expect.matching import Record
from harness.link.headers import (
    ACK,
    ETH_ARP,
    FIN,
    PROTOCOL_NAMES,
    RST,
    SYN,
    address_text,
    endpoint_text,
    ether_type,
    parse_ip,
    parse_tcp,
)
from harness.trace import Event

FRAME_FIELDS = (
    "proto", "src", "dst", "sport", "dport", "direction", "payload", "contains", "flags", "checksums", "length",
    "retransmission", "fate", "lost",
)  # fmt: skip
EVENT_FIELDS = (
    "seq", "kind", "layer", "status", "action", "rights", "rule", "filter_id", "flow_id", "flow_context", "value",
    "local", "remote", "redirected_to", "protocol", "process_id", "condition_flags", "metadata", "data_length",
    "injection_state", "redirect_state", "reauthorized", "slot", "irql",
    "stream_action", "stream_flags", "stream_offset", "stream_missed", "stream_enforced", "classify_flags",
)  # fmt: skip


class Frame(Protocol):
    """What is needed of a witnessed frame."""

    @property
    def number(self) -> int:
        """Its number in the capture, from 1."""

    @property
    def called(self) -> str:
        """'frame', or 'far frame' of the second link."""

    @property
    def direction(self) -> str:
        """'to-guest' or 'from-guest'."""

    @property
    def raw(self) -> bytes:
        """The Ethernet frame."""

    @property
    def fate(self) -> str:
        """What an impaired wire did to it, in words."""


class Contains:
    """The payload of a frame, compared by what it holds."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes) and other in self.payload

    __hash__ = None  # type: ignore[assignment]


def frame_records(frames: Iterable[Frame]) -> list[Record]:
    """The fields of each frame, among them whether it is a retransmission.

    That is a SYN, a FIN or payload sent again with its sequence number, in an IP packet of its own. A frame that
    repeats an earlier one byte for byte is none: no TCP sends such, but a driver that injects a packet twice does.
    """
    sent: dict[object, set[bytes]] = {}
    records = []
    for frame in frames:
        packet = parse_ip(frame.raw)
        segment = parse_tcp(packet) if packet is not None else None
        again = False
        if packet is not None and segment is not None and (segment.payload or segment.flags & (SYN | FIN)):
            key = (packet.source, packet.destination, packet.ports, segment.seq, segment.flags & (SYN | FIN))
            earlier = sent.setdefault((*key, len(segment.payload)), set())
            again = bool(earlier) and frame.raw not in earlier
            earlier.add(frame.raw)
        records.append(frame_record(frame, retransmission=again))
    return records


def frame_record(frame: Frame, *, retransmission: bool = False) -> Record:
    """A frame's fields; those of the transport are empty where it has none."""
    fields: dict[str, object] = {
        "direction": str(frame.direction), "length": len(frame.raw), "payload": b"", "retransmission": retransmission,
        "fate": frame.fate, "lost": frame.fate.startswith("lost"),
    }  # fmt: skip
    packet = parse_ip(frame.raw)
    if packet is None:
        fields["proto"] = "arp" if ether_type(frame.raw) == ETH_ARP else f"{ether_type(frame.raw):#06x}"
        text = f"{frame.called} {frame.number} {frame.direction} {fields['proto']}"
        return Record(fields=fields, text=text + (f" ({frame.fate})" if frame.fate else ""))
    source, destination = address_text(packet.source), address_text(packet.destination)
    proto = PROTOCOL_NAMES.get(packet.protocol, str(packet.protocol))
    sport, dport = packet.ports
    ends = (
        (endpoint_text(source, sport), endpoint_text(destination, dport)) if sport or dport else (source, destination)
    )
    segment = parse_tcp(packet)
    flags = flag_text(segment.flags) if segment else ""
    fields |= {
        "proto": proto, "src": ends[0], "dst": ends[1], "sport": sport, "dport": dport, "payload": packet.payload,
        "contains": Contains(packet.payload), "flags": flags, "checksums": packet.trouble or "right",
    }  # fmt: skip
    words = f"{frame.called} {frame.number} {frame.direction} {proto} {ends[0]} > {ends[1]}"
    if flags:
        words += f" [{flags}]"
    if packet.payload:
        words += f" {len(packet.payload)} bytes"
    words += " (sent again)" if retransmission else ""
    words += "".join(f" ({told})" for told in (packet.trouble, frame.fate) if told)
    return Record(fields=fields, text=words)


def flag_text(flags: int) -> str:
    """'S', 'SA', 'A', 'FA', 'R', 'RA': the flags that decide, push left out."""
    return "".join(letter for bit, letter in ((SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, "A")) if flags & bit)


def event_record(event: Event) -> Record:
    """An event's fields; the status by name."""
    fields: dict[str, object] = {name: getattr(event, name) for name in EVENT_FIELDS}
    fields["status"] = event.status_name
    return Record(fields=fields, text=str(event))
