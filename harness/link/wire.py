"""One way of a wire at work: takes frames, says which leave it now, and what it did to each.

It holds no thread and no lock: who carries the frames calls `carry` for each, and `release` when `due` has come.
"""

from __future__ import annotations

import random
from bisect import bisect_right, insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.link.damage import choose_bits, flip_bits, mend_checksum
from harness.link.impairment import Chosen, Clock, Impairment, TooBig, kind_of
from harness.link.router import cut, may_be_cut, packet_size, too_big

_DRAWS = 6
# A wire holds no more than this, whatever it is asked to do: the frames come from a guest.
_MOST_HELD = 4096


class Spared:
    """What passes whatever impairs the link, so that a fence stays one: frames that hold one of these byte strings."""

    def __init__(self) -> None:
        self._patterns: tuple[bytes, ...] = ()

    @contextmanager
    def let_pass(self, pattern: bytes) -> Iterator[None]:
        """A block in which frames that hold `pattern` pass, behind everything that was held back before them."""
        self._patterns = (*self._patterns, pattern)
        try:
            yield
        finally:
            left = list(self._patterns)
            left.remove(pattern)
            self._patterns = tuple(left)

    def holds(self, frame: bytes) -> bool:
        """Whether this frame is to pass."""
        return any(pattern in frame for pattern in self._patterns)


@dataclass(frozen=True, slots=True)
class Passage:
    """A frame at the end of the wire; `fate` is what the wire did to it, in words, or empty.

    A `lost` frame does not arrive. One that goes `back` was made by the wire for the sender.
    """

    frame: bytes
    fate: str = ""
    lost: bool = False
    back: bool = False


@dataclass(slots=True, kw_only=True)
class WireCounters:
    """What a wire did so far, in frames; `reordered` are those that another one overtook."""

    seen: int = 0
    meant: int = 0
    lost: int = 0
    repeated: int = 0
    reordered: int = 0
    delayed: int = 0
    corrupted: int = 0
    too_big: int = 0


@dataclass(order=True, slots=True)
class _Held:
    """A frame on its way: in the order in which frames leave."""

    due: float
    behind: int
    overtaken: bool
    number: int
    frame: bytes = field(compare=False)
    fate: list[str] = field(compare=False)
    entered: float = field(compare=False)
    overtakers: int = field(compare=False, default=0)


class Wire:
    """Carries what goes one way through an impairment."""

    def __init__(self, impairment: Impairment, spared: Spared | None = None) -> None:
        self.impairment = impairment
        self.counters = WireCounters()
        self.spared = spared or Spared()
        self._random = random.Random(impairment.seed)  # noqa: S311 - to be foreseen
        self._held: list[_Held] = []
        self._offered = 0
        self._clock = 0.0  # the frames' own
        self._busy_until = 0.0  # by the host's clock: when the last frame has been put on the wire

    def __call__(self, frame: bytes) -> Iterator[bytes]:
        """The frames that arrive for this one, for links that tell nobody what became of the others."""
        return (passage.frame for passage in self.carry(frame, 0.0) if not passage.lost and not passage.back)

    @property
    def due(self) -> float | None:
        """Monotonic seconds at which `release` has something to give; None when time alone brings nothing."""
        if self.impairment.clock is not Clock.HOST or not self._held:
            return None
        waiting = [held.due for held in self._held if held.behind <= self._offered]
        return min(waiting, default=None)

    def carry(self, frame: bytes, now: float) -> list[Passage]:
        """What leaves the wire when this frame is put on it at the monotonic time `now`, in order."""
        if self.spared.holds(frame):
            return [*self.flush("let go before a fence"), Passage(frame)]
        self.counters.seen += 1
        self._offered += 1
        if self.impairment.down:
            return [self._lose(frame, "the link is down")]
        passages: list[Passage] = []
        mtu = self.impairment.mtu
        if mtu and packet_size(frame) > mtu:
            passages, pieces = self._refuse(frame, mtu)
        else:
            pieces = [frame]
        for piece in pieces:
            fate = ["a fragment of what was too big"] if len(pieces) > 1 else []
            passages += self._put(piece, fate, now)
        if self.impairment.rate and self.impairment.clock is Clock.FRAMES:
            self._clock += len(frame) * 8 / self.impairment.rate
        return passages + self.release(now)

    def release(self, now: float) -> list[Passage]:
        """What leaves the wire at `now`, in order."""
        time = now if self.impairment.clock is Clock.HOST else self._clock
        ready: list[_Held] = []
        held_on: list[_Held] = []
        for held in self._held:
            (ready if held.behind <= self._offered and held.due <= time else held_on).append(held)
        self._held = held_on
        return self._leave_all(ready, now)

    def flush(self, why: str) -> list[Passage]:
        """Everything that is held back, in order, at once."""
        held, self._held = self._held, []
        return self._leave_all(held, None, why)

    def _put(self, frame: bytes, fate: list[str], now: float) -> list[Passage]:
        """Decide on one frame; what does not pass at once is held."""
        impairment = self.impairment
        if kind_of(frame) not in impairment.of:
            return [self._pass(frame, fate)]
        self.counters.meant += 1
        number = self.counters.meant
        lose, repeat, reorder, corrupt, depth, jitter = (self._random.random() for _ in range(_DRAWS))
        if _is_chosen(impairment.lose, lose, number):
            return [self._lose(frame)]
        if _is_chosen(impairment.corrupt, corrupt, number):
            frame = self._damage(frame, number, fate)
        behind = self._offered + impairment.hold
        overtaken = _is_chosen(impairment.reorder, reorder, number)
        if overtaken:
            behind += 1 + int(depth * impairment.depth)
        due = self._due(frame, jitter, now)
        if due is None or len(self._held) >= _MOST_HELD:
            return [self._lose(frame, f"{len(self._held)} frames waited before it")]
        copies = [fate]
        if _is_chosen(impairment.repeat, repeat, number):
            self.counters.repeated += 1
            copies.append([*fate, "repeated"])
        for words in copies:
            self._held.append(_Held(due, behind, overtaken, self._offered, frame, words, now))
        return []

    def _due(self, frame: bytes, jitter: float, now: float) -> float | None:
        """When the frame leaves, by the impairment's clock; None if there is no room for it to wait."""
        impairment = self.impairment
        late = impairment.delay + (2 * jitter - 1) * impairment.jitter
        if impairment.clock is Clock.FRAMES:
            return self._clock + late if impairment.delay else 0.0
        begin = now
        if impairment.rate:
            if impairment.queue and sum(held.due > now for held in self._held) >= impairment.queue:
                return None
            begin = self._busy_until = max(now, self._busy_until) + len(frame) * 8 / impairment.rate
        return begin + late

    def _damage(self, frame: bytes, number: int, fate: list[str]) -> bytes:
        source = random.Random(self.impairment.seed << 32 | number)  # noqa: S311 - to be foreseen
        bits = choose_bits(frame, source, self.impairment.bits, mend=self.impairment.mend)
        if not bits:
            return frame
        self.counters.corrupted += 1
        damaged = flip_bits(frame, bits)
        fate.append(f"bits {', '.join(map(str, bits))} flipped")
        if self.impairment.mend:
            fate.append("checksum mended")
            damaged = mend_checksum(damaged)
        return damaged

    def _refuse(self, frame: bytes, mtu: int) -> tuple[list[Passage], list[bytes]]:
        """What a packet above the MTU leaves behind, and the pieces that go on."""
        self.counters.too_big += 1
        told = self.impairment.too_big is TooBig.TELL
        if told and may_be_cut(frame):
            return [Passage(frame, f"lost: cut into fragments for an MTU of {mtu}", lost=True)], cut(frame, mtu)
        passages = [self._lose(frame, f"{packet_size(frame)} bytes are more than the MTU of {mtu}")]
        answer = too_big(frame, mtu, self.impairment.routers) if told else None
        if answer is not None:
            passages.append(Passage(answer, "made by the wire: the packet before was too big", back=True))
        return passages, []

    def _lose(self, frame: bytes, why: str = "") -> Passage:
        self.counters.lost += 1
        return Passage(frame, f"lost: {why}" if why else "lost", lost=True)

    def _pass(self, frame: bytes, fate: list[str]) -> Passage:
        for held in self._held:
            held.overtakers += 1
        return Passage(frame, ", ".join(fate))

    def _leave_all(self, leaving: list[_Held], now: float | None, why: str = "") -> list[Passage]:
        """Frames that were held, or came just now, leave: what happened to them meanwhile is known now."""
        leaving.sort()
        passages = []
        gone: list[int] = []  # the numbers of those that have left, in order: thousands may leave at once
        for held in leaving:
            held.overtakers += len(gone) - bisect_right(gone, held.number)
            insort(gone, held.number)
            passages.append(Passage(held.frame, self._fate(held, now, why)))
        for other in self._held if gone else ():
            other.overtakers += len(gone) - bisect_right(gone, other.number)
        return passages

    def _fate(self, held: _Held, now: float | None, why: str) -> str:
        fate = held.fate
        if held.overtakers:
            self.counters.reordered += 1
            fate.append(f"overtaken by {held.overtakers}")
        if held.number < self._offered or now != held.entered:
            self.counters.delayed += 1
            waited = f"held back for {self._offered - held.number} frames"
            if now is not None and self.impairment.clock is Clock.HOST:
                waited += f" and {(now - held.entered) * 1e3:.1f} ms"
            fate.append(waited)
        return ", ".join([*fate, why] if why else fate)


def _is_chosen(chosen: Chosen, drawn: float, number: int) -> bool:
    return number in chosen if isinstance(chosen, tuple) else drawn < chosen
