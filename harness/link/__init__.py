"""The L2 path to a test NIC: whole Ethernet frames, in order, none lost, and everyone who wants to may listen.

It carries bytes and knows how to read their headers; it answers nothing. Stations live in `harness.traffic`.
"""

from __future__ import annotations

from harness.link.impairment import Clock, Impairment, Kind, TooBig
from harness.link.memory import MemoryLink
from harness.link.protocol import Direction, Link, LinkCounters
from harness.link.stream import StreamLink
from harness.link.wire import Wire

__all__ = [
    "Clock", "Direction", "Impairment", "Kind", "Link", "LinkCounters", "MemoryLink", "StreamLink", "TooBig", "Wire",
]  # fmt: skip
