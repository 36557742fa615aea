"""The guest's side of a replay: the probe plays a script by itself, and is asked where it stands when all else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.guest import ProbeClient
from harness.guest.probe import Pending
from harness.ownership import temporary_folder
from harness.waiting import Deadline

_LOAD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A step that did not work, by the number of its packet: the words of the probe."""

    number: int
    channel: int
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the guest stands: the channel that it waits for, None when it waits for nothing; whether it is done."""

    channel: int | None
    number: int
    is_done: bool


@dataclass(frozen=True, slots=True)
class GuestResult:
    """What came of the script: bytes (and their CRC-32) or datagrams that each channel got, and what did not work."""

    received: dict[int, tuple[int, int]]
    troubles: tuple[Trouble, ...]


class GuestSide(Protocol):
    """Whoever plays the guest's applications."""

    def load(self, script: bytes) -> tuple[Trouble, ...]:
        """Take the script, and open what has to be open before it begins."""

    def start(self, *, keep_time: bool) -> None:
        """Begin, and come back at once; with `keep_time` no step is taken before its time in the capture."""

    def standing(self) -> Standing:
        """Where it stands."""

    def skip(self, channel: int) -> None:
        """Have it wait for this channel no longer, and end its connection."""

    def release(self, hold: int) -> None:
        """Let it go on behind this step of its script, and all such before it."""

    def result(self, deadline: Deadline) -> GuestResult:
        """Wait for the end of the script."""


class ProbeGuest:
    """The probe in a guest; `upload` brings a file of this host to a path of the guest."""

    def __init__(self, probe: ProbeClient, upload: Callable[[Path, str], object], path: str) -> None:
        self._probe, self._upload, self._path = probe, upload, path
        self._running: Pending | None = None

    def load(self, script: bytes) -> tuple[Trouble, ...]:
        """Raises ProbeError when the probe cannot read the script, TransportError."""
        with temporary_folder("replay") as folder:
            local = folder / "replay.script"
            local.write_bytes(script)
            self._upload(local, self._path)
        reply = self._probe.request("replay_load", path=self._path, seconds=_LOAD_SECONDS)
        return _troubles(reply)

    def start(self, *, keep_time: bool) -> None:
        """Begin."""
        self._running = self._probe.start("replay_run", keep_time=keep_time)

    def standing(self) -> Standing:
        """One round trip."""
        reply = self._probe.request("replay_state")
        channel = _number(reply, "waits", -1)
        return Standing(channel if channel >= 0 else None, _number(reply, "number"), bool(reply.get("done")))

    def skip(self, channel: int) -> None:
        """One round trip."""
        self._probe.request("replay_skip", channel=channel)

    def release(self, hold: int) -> None:
        """Half a round trip: what comes of it is seen on the link."""
        self._probe.start("replay_release", hold=hold)

    def result(self, deadline: Deadline) -> GuestResult:
        """Raises DeadlineExpired when the script has not ended by then."""
        if self._running is None:
            return GuestResult({}, ())
        reply = self._running.reply(deadline)
        rows = reply.get("channels")
        received = {}
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, list) and len(row) == 3 and all(isinstance(each, int) for each in row):
                received[row[0]] = (row[1], row[2])
        return GuestResult(received, _troubles(reply))


def _troubles(reply: dict[str, Any]) -> tuple[Trouble, ...]:
    rows = reply.get("troubles")
    return tuple(
        Trouble(_number(row, "number"), _number(row, "channel"), str(row.get("text", ""))[:200])
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict)
    )


def _number(reply: dict[str, Any], key: str, otherwise: int = 0) -> int:
    value = reply.get(key, otherwise)
    return value if isinstance(value, int) and abs(value) < 1 << 63 else otherwise
