"""The serial log: every byte the guest has written to its first serial port since it was switched on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.waiting import Deadline, NotYet, wait_for

# Of what a guest says at most so much is looked at in one go.
_MOST = 64 << 20


class SerialLog:
    """Reads the file that libvirt writes; the file may not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Bytes so far; a mark to pass as `since`."""
        return self.path.stat().st_size if self.path.exists() else 0

    def text(self, since: int = 0) -> str:
        """What was written after the mark; bytes that are not UTF-8 are replaced."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(since)
            return file.read(_MOST).decode(errors="replace")

    def read(self, since: int) -> tuple[str, int]:
        """What was written after the mark, and the mark behind it."""
        if not self.path.exists():
            return "", since
        with self.path.open("rb") as file:
            file.seek(since)
            content = file.read(_MOST)
        return content.decode(errors="replace"), since + len(content)

    def tail(self, lines: int = 5) -> list[str]:
        """The last lines that are not empty."""
        start = max(0, self.size() - 16384)
        found = [line.strip() for line in self.text(start).splitlines() if line.strip()]
        return found[-lines:]

    def wait_for(self, text: str, deadline: Deadline, *, since: int = 0, check: Callable[[], None]) -> int:
        """Wait until `text` was written after the mark; gives back the offset behind it.

        `check` is called at every look and raises what makes further waiting pointless.
        """
        wanted = text.encode()
        start = since

        def look() -> int | None:
            nonlocal start
            lost: Exception | None = None
            try:
                check()
            except Exception as error:  # raised below, unless the text arrived before the end
                lost = error
            if self.path.exists():
                with self.path.open("rb") as file:
                    file.seek(start)
                    chunk = file.read(_MOST)
                at = chunk.find(wanted)
                if at >= 0:
                    return start + at + len(wanted)
                start = max(since, start + len(chunk) - len(wanted) + 1)
            if lost is not None:
                raise lost
            raise NotYet(repr(self.tail(1)[-1]) if self.tail(1) else "an empty serial log")

        return wait_for(look, deadline, f"'{text}' on the serial port ({os.fspath(self.path)})")
