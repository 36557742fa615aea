"""What a scenario's folder shows, as the page wants it: one timeline with its frames and events, small and bounded.

Everything here came from the guest at some time: files may be missing, cut off or damaged, and none of that may keep
the page from being made.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LINE = re.compile(r"^ *(-?[0-9]+\.[0-9]+) s +(frame|event|step|socket) +(.*)$")
_NUMBER = re.compile(r"^(frame|event) ([0-9]+)\b *(.*)$")
_NAMED = re.compile(r"\b(frame|event) ([0-9]+)\b")
_MOST_ENTRIES = 2000  # of one scenario: more is not read by anybody, the files have it all
_MOST_FRAME_BYTES = 512
_MOST_FILE_BYTES = 32 << 20
_PACKET_BLOCK = 6
_EMPTY: tuple[object, ...] = ("", 0, None, False)


def timeline(folder: Path, message: str) -> dict[str, Any]:
    """The entries of a scenario's timeline, with the bytes of its frames and the fields of its events.

    Each entry is `[seconds, lane, text, number, marked]`; `number` is 0 for what has none. Marked is what the message
    of the failure names. `frames` and `events` are found by number; `left_out` counts what would be too much.
    """
    named = {(kind, int(number)) for kind, number in _NAMED.findall(message)}
    entries: list[list[object]] = []
    left_out = 0
    for line in _text(folder / "timeline.txt").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        if len(entries) == _MOST_ENTRIES:
            left_out += 1
            continue
        seconds, lane, text = float(found[1]), found[2], found[3]
        numbered = _NUMBER.match(text)
        number = int(numbered[2]) if numbered else 0
        entries.append([seconds, lane, numbered[3] if numbered else text, number, int((lane, number) in named)])
    shown = {(str(entry[1]), entry[3]) for entry in entries}
    frames = {
        number: base64.b64encode(data[:_MOST_FRAME_BYTES]).decode()
        for number, data in enumerate(read_frames(folder / "frames.pcapng"), start=1)
        if ("frame", number) in shown
    }
    events = {
        int(event["seq"]): {name: value for name, value in event.items() if value not in _EMPTY}
        for event in _records(folder / "events.jsonl")
        if ("event", event.get("seq")) in shown
    }
    return {"entries": entries, "frames": frames, "events": events, "left_out": left_out}


def packed(value: object) -> str:
    """JSON, deflated, as base64: what a browser unpacks when somebody looks."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
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


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in _text(path).splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("seq"), int):
            yield record


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", errors="replace")


def _bytes(path: Path) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_MOST_FILE_BYTES)
    except OSError:
        return b""
