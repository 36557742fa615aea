"""What a person sees while a command works: each outer step with the time it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.steps import StepEvent, subscribe


@contextmanager
def show_steps(max_depth: int = 1) -> Iterator[None]:
    """Print steps down to `max_depth` and all notes, each with its seconds, until the block ends."""
    began = time.monotonic()

    def show(event: StepEvent) -> None:
        if event.depth > max_depth:
            return
        indent = "  " * (event.depth + 1)
        clock = f"{event.time - began:6.1f} s"
        if event.kind == "start":
            text = f"{event.title} ..."
        elif event.kind == "stop":
            text = f"{event.title}: done in {event.duration:.1f} s"
        elif event.kind == "error":
            text = f"{event.title}: FAILED after {event.duration:.1f} s"
        else:
            text = event.title
        print(f"{clock}{indent}{text}", file=sys.stderr, flush=True)

    unsubscribe = subscribe(show)
    try:
        yield
    finally:
        unsubscribe()
