"""The driver's events as they have been read so far; it reads, and judges nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from harness.trace.event import Event, EventKind, parse_event


class EventBatch(Protocol):
    """What one look at the driver's ring brings."""

    @property
    def dropped(self) -> int:
        """Events that the ring had no room for, since the driver was loaded."""

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """The events, oldest first, as the probe printed them."""

    @property
    def more(self) -> bool:
        """Whether the ring may have held more than these."""


class EventSource(Protocol):
    """Where events come from: the control of the driver."""

    def read_events(self) -> EventBatch:
        """Take events off the ring; an empty batch when there are none."""


class Trace:
    """All events since the scenario began, in order."""

    def __init__(self, source: EventSource | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._now = now
        self._events: list[Event] = []
        self._offset: float | None = None
        self._floor: float | None = None
        self.dropped = 0

    @property
    def events(self) -> tuple[Event, ...]:
        """What has been read."""
        return tuple(self._events)

    @property
    def last_seq(self) -> int:
        """Number of the newest event that was read; 0 when there was none."""
        return self._events[-1].seq if self._events else 0

    def refresh(self) -> int:
        """Read until the driver has no more events; returns how many were new."""
        if self._source is None:
            return 0
        new = 0
        while True:
            batch = self._source.read_events()
            new += self.take_batch(batch)
            if not batch.more:
                return new

    def take_batch(self, batch: EventBatch) -> int:
        """Add what one look at the ring brought; returns how many events that were."""
        self.dropped = batch.dropped
        return self.take(batch.events)

    def take(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add events that were read by other means; returns how many."""
        events = [parse_event(record) for record in records]
        self._events += events
        if events:
            # An event cannot be read before it happens, so the smallest difference is nearest to the truth.
            offset = self._now() - events[-1].time
            self._offset = offset if self._offset is None else min(self._offset, offset)
        return len(events)

    def to_host(self, seconds: float) -> float | None:
        """A time of the guest's performance counter in this host's monotonic seconds; None before any event."""
        offset = self._offset if self._floor is None else self._floor
        return None if offset is None else seconds + offset

    def tie(self, before: float) -> None:
        """The newest event is later than `before`, of this host's clock: from now on `to_host` is never too late."""
        if self._events:
            self._floor = before - self._events[-1].time

    def host_time(self, event: Event) -> float:
        """When the event happened, in this host's monotonic seconds; exact to about one read of the ring."""
        return event.time + (self._offset or 0.0)

    def select(self, kind: EventKind | str | None = None, layer: str | None = None) -> tuple[Event, ...]:
        """Events of one kind, of one layer, or both."""
        return tuple(
            event
            for event in self._events
            if (kind is None or event.kind == kind) and (layer is None or event.layer == layer)
        )

    def has_marker(self, seq: int) -> bool:
        """Whether the marker with this number has been read."""
        return any(event.kind is EventKind.MARKER and event.seq == seq for event in self._events)

    def clear(self) -> None:
        """Begin anew, after the guest was put back."""
        self._events.clear()
        self._offset = self._floor = None
        self.dropped = 0
