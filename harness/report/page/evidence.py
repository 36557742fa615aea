"""What a scenario's folder shows, as the page wants it: one timeline with its frames and events, small and bounded.

Everything here came from the guest at some time: files may be missing, cut off or damaged, and none of that may keep
the page from being made.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_LINE = re.compile(r"^ *(-?[0-9]+\.[0-9]+) s +(frame|far|event|step|socket|replay) +(.*)$")
_NUMBER = re.compile(r"^(?:far frame|frame|event|socket) ([0-9]+)\b *(.*)$")
_NAMED = re.compile(r"\b(far frame|frame|event) ([0-9]+)\b")
_LANE_OF = {"far frame": "far"}  # of what a message names; others are called as their lane
_MOST_ENTRIES = 2000  # of one scenario: more is not read by anybody, the files have it all
_MOST_MARKED = 200  # beside them, of each kind of mark, wherever they stand
_NEAREST = "Nearest miss:"
_FAILED = re.compile(r"^(FAIL|CRASH|HANG|LOST): ")
_SAW, _NEARLY, _ENDED, _DEPARTED = 1, 2, 3, 4
_MOST_FRAME_BYTES = 512
_MOST_FILE_BYTES = 32 << 20
_PACKET_BLOCK = 6
_LEVEL = 6  # of zlib: a tenth larger than the best, in half the time


def timeline(folder: Path, message: str) -> dict[str, Any]:
    """The entries of a scenario's timeline, with the bytes of its frames and the fields of its events.

    Each entry is `[seconds, lane, text, number, mark]`; `number` is 0 for what has none, `mark` is 1 for what
    the message of the failure says was seen, 2 for its nearest miss, 3 for the failure itself, 4 where a replay
    departed from its capture. `frames`, `far` (frames of the second link), `events` and `sockets` are found by number;
    `left_out` counts what would be too much.
    """
    named: dict[tuple[str, int], int] = {}
    saw, _, nearly = message.partition(_NEAREST)
    for words, mark in ((nearly, _NEARLY), (saw, _SAW)):
        named |= {(_LANE_OF.get(kind, kind), int(number)): mark for kind, number in _NAMED.findall(words)}
    entries: list[list[object]] = []
    left_out, kinds = 0, Counter[int]()
    for line in _text(folder / "timeline.txt").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        seconds, lane, text = float(found[1]), found[2], found[3]
        numbered = _NUMBER.match(text)
        number = int(numbered[1]) if numbered else 0
        if lane == "replay":
            mark = _DEPARTED
        else:
            mark = _ENDED if numbered is None and _FAILED.match(text) else named.get((lane, number), 0)
        if kinds[mark] == (_MOST_MARKED if mark else _MOST_ENTRIES):
            left_out += 1
            continue
        kinds[mark] += 1
        entries.append([seconds, lane, numbered[2] if numbered else text, number, mark])
    shown = {(str(entry[1]), entry[3]) for entry in entries}
    frames, far = (
        {
            number: base64.b64encode(data[:_MOST_FRAME_BYTES]).decode()
            for number, data in enumerate(read_frames(folder / name), start=1)
            if (lane, number) in shown
        }
        for lane, name in (("frame", "frames.pcapng"), ("far", "far-frames.pcapng"))
    )
    events = {
        int(event["seq"]): {name: value for name, value in event.items() if value}
        for event in _records(folder / "events.jsonl")
        if ("event", event.get("seq")) in shown
    }
    sockets = {
        int(call["number"]): {name: value for name, value in call.items() if name != "time" and value}
        for call in _records(folder / "sockets.jsonl", "number")
        if ("socket", call.get("number")) in shown
    }
    return {
        "entries": entries,
        "frames": frames,
        "far": far,
        "events": events,
        "sockets": sockets,
        "left_out": left_out,
    }


def packed(value: object) -> str:
    """JSON, deflated, as base64: what a browser unpacks when somebody looks."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    text = json.dumps(value, separators=(",", ":"), default=str).encode()
    return base64.b64encode(deflate.compress(text) + deflate.flush()).decode()


def read_frames(path: Path) -> Iterator[bytes]:
    """The frames of a capture that the witness wrote (little-endian pcapng); ends where the file is cut or damaged."""
    data = _bytes(path)
    at = 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if length < 12 or length % 4 or at + length > len(data):
            return
        if kind == _PACKET_BLOCK and length >= 32:
            captured = struct.unpack_from("<I", data, at + 20)[0]
            if captured > length - 32:
                return
            yield data[at + 28 : at + 28 + captured]
        at += length


def _records(path: Path, number: str = "seq") -> Iterator[dict[str, Any]]:
    for record in _values(_text(path).splitlines()):
        if isinstance(record, dict) and isinstance(record.get(number), int):
            yield record


def _values(lines: Sequence[str]) -> Iterator[object]:
    """The JSON value of each line that is one; all at once where they all are, which is four times as fast."""
    try:
        yield from json.loads(f"[{','.join(lines)}]")
    except (ValueError, RecursionError):
        for line in lines:
            with suppress(ValueError, RecursionError):
                yield json.loads(line)


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", errors="replace")


def _bytes(path: Path) -> bytes:
    try:
        # Not through a link, and not to wait for the other end of a pipe.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with suppress(OSError), open(number, "rb") as file:  # noqa: PTH123 - a descriptor
        if stat.S_ISREG(os.fstat(number).st_mode):
            return file.read(_MOST_FILE_BYTES)
    return b""
