"""Where a replay had to depart from its capture: a sentence, and the packets it is true of."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_NUMBERS = 200
_MOST_KINDS = 500
_SHOWN = 8
_TOGETHER_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Departure:
    """One way in which the replay was not the capture; `numbers` are packets of the file, none for the whole of it.

    `count` is how often it happened: more than there are numbers when these became too many to keep. `moments` are
    when, in monotonic seconds: one for each number, or one for the first time where there are none.
    """

    text: str
    numbers: tuple[int, ...] = ()
    count: int = 1
    moments: tuple[float, ...] = ()

    def __str__(self) -> str:
        return _sentence(self.text, self.numbers, self.count)

    def as_record(self) -> dict[str, object]:
        """For results.jsonl, which outlives this host's clock."""
        return {"text": self.text, "numbers": self.numbers, "count": self.count}

    def at_moments(self) -> list[tuple[float, str]]:
        """When it happened, and the sentence about the packets of that moment; those close together are one."""
        if not self.numbers:
            return [(moment, self.text) for moment in self.moments[:1]]
        groups: list[tuple[float, list[int]]] = []
        for moment, number in zip(self.moments, self.numbers, strict=False):
            if groups and moment - groups[-1][0] < _TOGETHER_SECONDS:
                groups[-1][1].append(number)
            else:
                groups.append((moment, [number]))
        return [(moment, _sentence(self.text, numbers, len(numbers))) for moment, numbers in groups]


class Departures:
    """Collects departures, one for each sentence; several threads may tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the three tables
        self._numbers: dict[str, list[int]] = {}
        self._counts: dict[str, int] = {}
        self._moments: dict[str, list[float]] = {}

    def tell(self, text: str, number: int | None = None) -> None:
        """Say that this happened, at a packet or in general."""
        with self._lock:
            if text not in self._counts and len(self._counts) >= _MOST_KINDS:
                text, number = "There were more departures than are kept apart.", None
            numbers, moments = self._numbers.setdefault(text, []), self._moments.setdefault(text, [])
            self._counts[text] = self._counts.get(text, 0) + 1
            if number is not None and len(numbers) < _MOST_NUMBERS:
                if not numbers:
                    moments.clear()  # those of no packet
                numbers.append(number)
                moments.append(time.monotonic())
            elif not moments:
                moments.append(time.monotonic())

    def all(self) -> tuple[Departure, ...]:
        """All of them, in the order in which each was told first."""
        with self._lock:
            return tuple(
                Departure(text, tuple(numbers), self._counts[text], tuple(self._moments[text]))
                for text, numbers in self._numbers.items()
            )


def _sentence(text: str, numbers: Sequence[int], count: int) -> str:
    if not numbers:
        return text
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    more = count - min(len(numbers), _SHOWN)
    return f"Packet{'' if count == 1 else 's'} {shown}{f' and {more} more' if more > 0 else ''}: {text}"
