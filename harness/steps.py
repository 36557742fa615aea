"""Steps: nested, timed events of what the harness does; terminal, results and report subscribe to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from harness.waiting import Deadline, bounding

Kind = Literal["start", "stop", "error", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """One thing to tell: `time` is monotonic seconds, `depth` the nesting, `duration` seconds at stop and error."""

    kind: Kind
    title: str
    time: float
    depth: int
    duration: float | None = None
    error: BaseException | None = None
    budget: float | None = None  # seconds that the step may take without any progress; None: its outer step's
    fields: dict[str, object] = field(default_factory=dict)


Subscriber = Callable[[StepEvent], None]

_lock = threading.Lock()  # guards _subscribers
_subscribers: list[Subscriber] = []
_nesting = threading.local()


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Have `subscriber` called for every event from now on, in the thread of the step; returns how to stop it."""
    with _lock:
        _subscribers.append(subscriber)

    def unsubscribe() -> None:
        with _lock:
            if subscriber in _subscribers:
                _subscribers.remove(subscriber)

    return unsubscribe


def current() -> str:
    """Titles of the open steps of this thread, outermost first, joined by ' > '; empty outside of any step."""
    return " > ".join(_titles())


def note(text: str, **fields: object) -> None:
    """Tell one fact that has no duration."""
    _publish(StepEvent(kind="note", title=text, time=time.monotonic(), depth=len(_titles()), fields=fields))


@contextmanager
def step(title: str, *, deadline: Deadline | None = None, **fields: object) -> Iterator[None]:
    """A named piece of work; tells its start, and its end or its error with the time it took.

    `deadline` bounds every wait inside, and is how long the step may go on without progress before it counts as hung.
    """
    titles = _titles()
    began, depth = time.monotonic(), len(titles)
    budget = None if deadline is None else deadline.remaining()
    _publish(StepEvent(kind="start", title=title, time=began, depth=depth, budget=budget, fields=fields))
    titles.append(title)
    try:
        with bounding(deadline) if deadline is not None else nullcontext():
            yield
    except BaseException as error:
        now = time.monotonic()
        titles.pop()
        _publish(
            StepEvent(
                kind="error", title=title, time=now, depth=depth, duration=now - began, error=error, fields=fields
            )
        )
        raise
    now = time.monotonic()
    titles.pop()
    _publish(StepEvent(kind="stop", title=title, time=now, depth=depth, duration=now - began, fields=fields))


def _titles() -> list[str]:
    titles: list[str] | None = getattr(_nesting, "titles", None)
    if titles is None:
        titles = []
        _nesting.titles = titles
    return titles


def _publish(event: StepEvent) -> None:
    with _lock:
        subscribers = tuple(_subscribers)
    for subscriber in subscribers:
        subscriber(event)
