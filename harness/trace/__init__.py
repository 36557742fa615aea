"""What the driver said it did: its events, typed, and the timeline that merges them with frames and steps."""

from __future__ import annotations

from harness.trace.event import Event, EventKind, parse_event
from harness.trace.timeline import Entry, render_timeline
from harness.trace.trace import EventSource, Trace

__all__ = ["Entry", "Event", "EventKind", "EventSource", "Trace", "parse_event", "render_timeline"]
