"""Stacks of x64 PE code, by the tables that every such module carries (.pdata): what RtlVirtualUnwind does.

Source: Microsoft Learn, "x64 exception handling". What is read comes from a process that may be broken: every number
is bounded. Where a function stands in its epilogue the frame may be a wrong one.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

RSP = 4
FRAMES_MAX = 48
_MODULES_MAX = 256
_PDATA_MAX = 1 << 20
_CHAIN, _CHAINS_MAX = 4, 8
# Slots that a code takes with its operand: ALLOC_LARGE short and long, SAVE_NONVOL, _FAR, SAVE_XMM128, _FAR.
_SLOTS: dict[object, int] = {(1, 0): 2, (1, 1): 3, 4: 2, 5: 3, 8: 2, 9: 3}

Read = Callable[[int, int], bytes]


class Unreadable(Exception):
    """Memory that is not there."""


@dataclass
class Module:
    """A PE image in the process: where, how long, and its functions once somebody asks."""

    name: str
    base: int
    size: int
    functions: list[tuple[int, int, int]] | None = None
    starts: list[int] = field(default_factory=list)


@dataclass
class Registers:
    """The integer registers by their numbers (rax 0, rcx 1, rdx 2, rbx 3, rsp 4, rbp 5, ...), and where it runs."""

    numbers: list[int]
    rip: int


def find_modules(read: Read, teb: int) -> list[Module]:
    """The loader's list of a thread's process."""
    peb = _u64(read, teb + 0x60)
    head = _u64(read, peb + 0x18) + 0x20
    at, found = _u64(read, head), []
    while at != head and len(found) < _MODULES_MAX:
        entry = at - 0x10
        base, size = _u64(read, entry + 0x30), _u32(read, entry + 0x40)
        length, buffer = _u16(read, entry + 0x58), _u64(read, entry + 0x60)
        name = read(buffer, min(length, 128)).decode("utf-16-le", "replace") if length else "?"
        found.append(Module(name, base, size))
        at = _u64(read, at)
    return sorted(found, key=lambda module: module.base)


def module_of(modules: list[Module], address: int) -> Module | None:
    """The module that an address is in."""
    at = bisect_right([module.base for module in modules], address) - 1
    return modules[at] if at >= 0 and address < modules[at].base + modules[at].size else None


def walk(read: Read, modules: list[Module], registers: Registers) -> list[tuple[Module, int, int]]:
    """Module, offset from its base, and stack pointer of every frame, innermost first."""
    frames: list[tuple[Module, int, int]] = []
    while len(frames) < FRAMES_MAX and (module := module_of(modules, registers.rip)) is not None:
        frames.append((module, registers.rip - module.base, registers.numbers[RSP]))
        before = registers.numbers[RSP]
        try:
            _step(read, module, registers)
        except (Unreadable, struct.error, IndexError):
            break
        if registers.numbers[RSP] <= before:
            break
    return frames


def _step(read: Read, module: Module, registers: Registers) -> None:
    function = _function(read, module, registers.rip - module.base)
    numbers = registers.numbers
    if function is not None:
        begin, _, info = function
        offset = registers.rip - module.base - begin
        for _ in range(_CHAINS_MAX):
            machine_frame, chained = _undo(read, module.base + info, offset, numbers)
            if machine_frame is not None:
                registers.rip, numbers[RSP] = machine_frame
                return
            if chained is None:
                break
            info, offset = chained, 1 << 16  # the whole of that prologue has run
    registers.rip = _u64(read, numbers[RSP])
    numbers[RSP] += 8


def _undo(read: Read, info: int, offset: int, numbers: list[int]) -> tuple[tuple[int, int] | None, int | None]:
    """Undo what a prologue did until `offset`; the machine frame it found, and the information it is chained to."""
    head = read(info, 4)
    flags, count, frame = head[0] >> 3, head[2], head[3]
    codes = struct.unpack(f"<{count}H", read(info + 4, 2 * count))
    base = numbers[RSP]
    if frame & 15 and offset >= next((code & 255 for code in codes if code >> 8 & 15 == 3), 0):
        base = numbers[frame & 15] - (frame >> 4) * 16
    at = 0
    while at < count:
        code = codes[at]
        op, number, done = code >> 8 & 15, code >> 12, offset >= code & 255
        used = _SLOTS.get((op, number) if op == 1 else op, 1)
        value = sum(codes[at + 1 + slot] << 16 * slot for slot in range(used - 1))
        at += used
        if not done:
            continue
        if op == 0:  # PUSH_NONVOL
            numbers[number] = _u64(read, numbers[RSP])
            numbers[RSP] += 8
        elif op == 1:  # ALLOC_LARGE
            numbers[RSP] += value if number else value * 8
        elif op == 2:  # ALLOC_SMALL
            numbers[RSP] += number * 8 + 8
        elif op == 3:  # SET_FPREG
            numbers[RSP] = base
        elif op == 4:  # SAVE_NONVOL
            numbers[number] = _u64(read, base + value * 8)
        elif op == 5:  # SAVE_NONVOL_FAR
            numbers[number] = _u64(read, base + value)
        elif op == 10:  # PUSH_MACHFRAME
            at_frame = numbers[RSP] + (8 if number else 0)
            return (_u64(read, at_frame), _u64(read, at_frame + 24)), None
    if flags & _CHAIN:
        return None, _u32(read, info + 4 + 2 * (count + (count & 1)) + 8)
    return None, None


def _function(read: Read, module: Module, offset: int) -> tuple[int, int, int] | None:
    if module.functions is None:
        module.functions = []
        try:
            headers = module.base + _u32(read, module.base + 0x3C)
            address, size = struct.unpack("<II", read(headers + 24 + 112 + 3 * 8, 8))
            table = read(module.base + address, min(size, _PDATA_MAX) // 12 * 12) if address else b""
            module.functions = sorted(struct.iter_unpack("<III", table))
        except (Unreadable, struct.error):
            pass
        module.starts = [begin for begin, _, _ in module.functions]
    at = bisect_right(module.starts, offset) - 1
    found = module.functions[at] if at >= 0 else None
    return found if found is not None and offset < found[1] else None


def _u16(read: Read, address: int) -> int:
    return int.from_bytes(read(address, 2), "little")


def _u32(read: Read, address: int) -> int:
    return int.from_bytes(read(address, 4), "little")


def _u64(read: Read, address: int) -> int:
    return int.from_bytes(read(address, 8), "little")
