"""`expect(x)`: the expectations that fit x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, overload

from harness.expect.frames import EVENT_FIELDS, FRAME_FIELDS, Frame, event_record, frame_records
from harness.expect.records import RecordsExpect
from harness.expect.sockets import ConnectionExpect, ListenerExpect, ValueExpect
from harness.guest import ProbeListener, ProbeSocket
from harness.trace import Trace


class FrameSource(Protocol):
    """A witness; `place` is what a scenario calls it, `witness` or `far.witness`."""

    place: str

    def frames(self) -> Sequence[Frame]:
        """Every frame it saw, in order."""


@overload
def expect(subject: Trace) -> RecordsExpect: ...
@overload
def expect(subject: ProbeListener) -> ListenerExpect: ...
@overload
def expect(subject: ProbeSocket) -> ConnectionExpect: ...
@overload
def expect(subject: bytes | str | int | None) -> ValueExpect: ...
@overload
def expect(subject: FrameSource) -> RecordsExpect: ...


def expect(subject: Any) -> RecordsExpect | ListenerExpect | ConnectionExpect | ValueExpect:
    """The expectations that fit `subject`."""
    if isinstance(subject, Trace):
        return RecordsExpect("trace", "event", EVENT_FIELDS, [event_record(event) for event in subject.events])
    if callable(getattr(subject, "frames", None)):
        return RecordsExpect(subject.place, "frame", FRAME_FIELDS, frame_records(subject.frames()))
    if isinstance(subject, ProbeListener):
        return ListenerExpect(subject)
    if isinstance(subject, ProbeSocket):
        return ConnectionExpect(subject)
    return ValueExpect(subject)
