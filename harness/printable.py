"""Text of a guest made fit for a terminal: nothing in it moves the cursor, sets the title or turns the direction."""

from __future__ import annotations

import re
from typing import TextIO

# C0 but tab and line feed, DEL, C1; the marks that change the direction of writing; halves of surrogate pairs.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOUR = re.compile("(\x1b\\[[0-9;]{0,20}m)")


def printable(text: str) -> str:
    """The same text with every such character written as Python would: `\\x1b`."""
    return _UNFIT.sub(lambda found: repr(found.group())[1:-1], text)


class PrintableStream:
    """A terminal through which only text and colours go."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write; what is not fit is written out."""
        parts = _COLOUR.split(text.replace("\r\n", "\n"))
        self._stream.write("".join(part if at % 2 else printable(part) for at, part in enumerate(parts)))
        return len(text)

    def __getattr__(self, name: str) -> object:
        """All else is the stream's own."""
        return getattr(self._stream, name)
