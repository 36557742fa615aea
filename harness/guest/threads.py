"""Stacks of the threads of a process in the guest, as the second channel brings them; and who stands in a driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_PROCESSES_MAX, _THREADS_MAX, _FRAMES_MAX = 16, 256, 64
# Who calls a driver's functions: the engine, and Wine's kernel for requests, start and unload. Threads of the
# driver's own begin in ntdll.dll and kernel32.dll, and may wait in the driver for as long as it is loaded.
_CALLERS = frozenset({"fwpkclnt.sys", "ndis.sys", "ntoskrnl.exe"})

_RUNNING = "R"  # of /proc/PID/stat

Namer = Callable[[str, int], str]
"""What is at an offset of a module: 'classify at classify.c:54', or nothing."""


class Misshapen(ValueError):
    """What the guest sent as stacks is none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A return address (or the place itself, of the innermost frame), by its offset from the module's base."""

    module: str
    offset: int
    stack_pointer: int

    def __str__(self) -> str:
        return f"{self.module}+0x{self.offset:x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One thread; `native` is where it is in code that is no PE module, `ticks` the processor time it has used."""

    id: int
    name: str
    state: str
    ticks: int
    native: str
    frames: tuple[Frame, ...]

    def entry_of(self, driver: str) -> Frame | None:
        """The outermost frame of a driver on this stack, where somebody called the driver; None where nobody did."""
        for inner, outer in zip(reversed(self.frames[:-1]), reversed(self.frames[1:]), strict=True):
            if inner.module.lower() == driver.lower() and outer.module.lower() in _CALLERS:
                return inner
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process and its threads."""

    pid: int
    name: str
    threads: tuple[Thread, ...]


@dataclass(frozen=True, slots=True)
class Stuck:
    """A thread that was inside one and the same call of the driver at both looks."""

    thread: Thread
    turns: bool  # it ran or was ready to run at both looks, as a loop is

    def tell(self, name: Namer) -> str:
        """One sentence."""
        places = [_place(frame, name) for frame in self.thread.frames[:4]]
        what = "turns" if self.turns else "waits"
        return f"Thread {self.thread.id} {what} in {' < '.join(places)}."


def read_processes(told: object) -> list[Process]:
    """Bring what the agent wrote into shape. Raises Misshapen where it is not what it should be."""
    if not isinstance(told, dict) or not isinstance(told.get("processes"), list):
        raise Misshapen("no processes in it")
    return [_process(entry) for entry in told["processes"][:_PROCESSES_MAX]]


def find_stuck(before: Sequence[Process], after: Sequence[Process], driver: str) -> list[Stuck]:
    """Threads that have been inside the same call of a driver at two looks, one after the other."""
    earlier = {(process.pid, thread.id): thread for process in before for thread in process.threads}
    found = []
    for process in after:
        for thread in process.threads:
            first = earlier.get((process.pid, thread.id))
            entry, was = thread.entry_of(driver), first.entry_of(driver) if first is not None else None
            # The same call: its frame lies at the same place, whatever the driver called from there.
            if first and entry and was and entry.stack_pointer == was.stack_pointer:
                # Not by its ticks: being looked at costs a waiting thread a tick as well.
                found.append(Stuck(thread, turns=first.state == thread.state == _RUNNING))
    return found


def render(processes: Sequence[Process], name: Namer) -> str:
    """All stacks as text, for a file."""
    lines: list[str] = []
    for process in processes:
        lines.append(f"process {process.pid} {process.name}, {len(process.threads)} threads")
        for thread in process.threads:
            lines.append("")
            at = f", in {thread.native}" if thread.native else ""
            lines.append(f"  thread {thread.id} {thread.name}, state {thread.state}, {thread.ticks} ticks{at}")
            lines += [f"    #{number} {_place(frame, name)}" for number, frame in enumerate(thread.frames)]
        lines.append("")
    return "\n".join(lines)


def _place(frame: Frame, name: Namer) -> str:
    known = name(frame.module, frame.offset)
    return f"{frame} ({known})" if known else str(frame)


def _process(entry: object) -> Process:
    if not isinstance(entry, dict) or not isinstance(entry.get("threads"), list):
        raise Misshapen("a process without threads")
    threads = tuple(_thread(thread) for thread in entry["threads"][:_THREADS_MAX])
    return Process(pid=_whole(entry, "pid"), name=_text(entry, "name"), threads=threads)


def _thread(entry: object) -> Thread:
    if not isinstance(entry, dict) or not isinstance(entry.get("frames"), list):
        raise Misshapen("a thread without frames")
    frames = []
    for frame in entry["frames"][:_FRAMES_MAX]:
        if not isinstance(frame, dict):
            raise Misshapen("a frame that is none")
        frames.append(Frame(_text(frame, "module"), _whole(frame, "offset"), _whole(frame, "sp")))
    trouble = _text(entry, "trouble")
    return Thread(
        id=_whole(entry, "tid"),
        name=_text(entry, "name"),
        state=_text(entry, "state"),
        ticks=_whole(entry, "ticks"),
        native=_text(entry, "native") or trouble,
        frames=tuple(frames),
    )


def _whole(entry: dict[str, object], key: str) -> int:
    value = entry.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise Misshapen(f"{key} is {str(value)[:40]}")
    return value


def _text(entry: dict[str, object], key: str) -> str:
    value = entry.get(key) or ""
    if not isinstance(value, str):
        raise Misshapen(f"{key} is no text")
    return "".join(letter if letter.isprintable() else "?" for letter in value[:80])
