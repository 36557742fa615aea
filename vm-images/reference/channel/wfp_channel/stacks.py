"""Stacks of all threads of a Wine process, taken from outside of it: it need not do anything for that, nor be able to.

A thread that is in a system call of Wine's has left its PE code by Wine's dispatcher, which kept the registers in a
frame of its own; where that frame lies differs between versions of Wine, so both places are looked at (see _SAVED).
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from pathlib import Path
from typing import Any

from wfp_channel import unwind

_SEIZE, _INTERRUPT, _GETREGS, _DETACH = 0x4206, 0x4207, 12, 17
_WALL = 0x40000000
_REGISTERS = 27  # of struct user_regs_struct, 8 bytes each
# rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15 by their place in user_regs_struct
_ORDER = (10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0)
_RIP, _ORIG_RAX, _GS = 16, 15, 22
_STOP_SECONDS = 0.5
_THREADS_MAX = 256
# Wine 8's amd64_thread_data in the TEB has the pointer to the syscall frame here (dlls/ntdll/unix/signal_x86_64.c);
# the frame holds rax, rbx, rcx, rdx, rsi, rdi, r8 to r15, rip, cs and ds, eflags, rsp, ss and es, rbp.
_SAVED = 0x328
_FRAME = (0x00, 0x10, 0x18, 0x08, 0x88, 0x98, 0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x58, 0x60, 0x68)
_FRAME_RIP, _FRAME_SIZE = 0x70, 0xA0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def take(pid: int) -> dict[str, Any]:
    """Name, threads, and of each thread its state, what it runs natively, and its frames of PE code."""
    read = _reader(pid)
    native = _native_map(pid)
    modules: list[unwind.Module] = []
    threads = []
    for tid in sorted(int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())[:_THREADS_MAX]:
        thread: dict[str, Any] = {"tid": tid, **_facts(pid, tid), "frames": []}
        threads.append(thread)
        registers = _registers(tid)
        if registers is None:
            thread["trouble"] = "it could not be stopped"
            continue
        try:
            if not modules:
                modules = unwind.find_modules(read, registers[_GS])
        except unwind.Unreadable:
            pass  # a thread of Wine's that has no TEB yet
        rip = registers[_RIP]
        start = unwind.Registers([registers[at] for at in _ORDER], rip)
        if unwind.module_of(modules, rip) is None:
            thread["native"] = _place(native, rip)
            saved = _saved(read, registers[_GS])
            if saved is None:
                continue
            start = saved
        thread["frames"] = [
            {"module": module.name, "offset": offset, "sp": sp}
            for module, offset, sp in unwind.walk(read, modules, start)
        ]
        _let_go(tid)
    return {"pid": pid, "name": Path(f"/proc/{pid}/comm").read_text().strip(), "threads": threads}


def _facts(pid: int, tid: int) -> dict[str, Any]:
    try:
        name, _, rest = Path(f"/proc/{pid}/task/{tid}/stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        return {"name": name, "state": fields[0], "ticks": int(fields[11]) + int(fields[12])}
    except (OSError, IndexError, ValueError):
        return {"name": "?", "state": "?", "ticks": 0}


def _registers(tid: int) -> list[int] | None:
    """Hold a thread still and read its registers; None when it does not stop, as one that is in the kernel's hands."""
    if _libc.ptrace(_SEIZE, tid, None, None) < 0 or _libc.ptrace(_INTERRUPT, tid, None, None) < 0:
        return None
    end = time.monotonic() + _STOP_SECONDS
    while os.waitpid(tid, os.WNOHANG | _WALL)[0] != tid:
        if time.monotonic() > end:
            return None
        time.sleep(0.001)  # noqa: TID251 - as for a child
    room = ctypes.create_string_buffer(_REGISTERS * 8)
    if _libc.ptrace(_GETREGS, tid, None, ctypes.addressof(room)) < 0:
        return None
    return list(struct.unpack(f"<{_REGISTERS}Q", room.raw))


def _let_go(tid: int) -> None:
    _libc.ptrace(_DETACH, tid, None, None)


def _saved(read: unwind.Read, teb: int) -> unwind.Registers | None:
    try:
        frame = int.from_bytes(read(teb + _SAVED, 8), "little")
        raw = read(frame, _FRAME_SIZE)
    except unwind.Unreadable:
        return None
    numbers = [int.from_bytes(raw[at : at + 8], "little") for at in _FRAME]
    return unwind.Registers(numbers, int.from_bytes(raw[_FRAME_RIP : _FRAME_RIP + 8], "little"))


def _reader(pid: int) -> unwind.Read:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)

    def read(address: int, size: int) -> bytes:
        if not 0 < address < 1 << 47:
            raise unwind.Unreadable
        try:
            data = os.pread(memory, size, address)
        except (OSError, OverflowError):
            raise unwind.Unreadable from None
        if len(data) != size:
            raise unwind.Unreadable
        return data

    return read


def _native_map(pid: int) -> list[tuple[int, int, int, str]]:
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(None, 5)
        begin, _, end = words[0].partition("-")
        if len(words) == 6 and words[1][2] == "x":
            found.append((int(begin, 16), int(end, 16), int(words[2], 16), words[5].rpartition("/")[2]))
    return found


def _place(native: list[tuple[int, int, int, str]], address: int) -> str:
    for begin, end, offset, name in native:
        if begin <= address < end:
            return f"{name}+0x{address - begin + offset:x}"
    return f"0x{address:x}"
