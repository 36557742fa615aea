"""What the guest's own sockets were asked and answered during a scenario: the third witness, as a record.

Replies come from the guest and are not trusted: sizes are bounded, and what they say stays text.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The requests of the probe that are about sockets; drv_*, service and the like are the driver's and the harness's own.
SOCKET_OPS = frozenset(
    {
        "tcp_listen", "tcp_connect", "accept", "send", "recv", "shutdown", "close", "udp_open", "send_to", "recv_from",
        "recv_message", "send_message", "redirect_context", "redirect_records", "set_redirect_records",
    }
)  # fmt: skip
_MOST_CALLS = 5000
_MOST_BYTES = 512
_LONGEST_TEXT = 200
_MOST_MEMBERS = 50
_PLACES = ("address", "bind", "connect")


@dataclass(slots=True, kw_only=True)
class SocketCall:
    """One call: `time` is this host's monotonic seconds, `seconds` how long until the answer; None without one."""

    number: int
    time: float
    op: str
    subject: str
    asked: dict[str, object]
    seconds: float | None = None
    reply: dict[str, object] | None = None
    result: str = ""

    def __str__(self) -> str:
        words = f"socket {self.number} {self.op}" + (f" {self.subject}" if self.subject else "")
        if self.seconds is None:
            return f"{words}: no answer"
        return f"{words}: {self.result} ({self.seconds * 1000:.1f} ms)"

    def as_record(self) -> dict[str, object]:
        """All of it, for sockets.jsonl."""
        return {
            "number": self.number, "time": self.time, "op": self.op, "subject": self.subject, "result": self.result,
            "seconds": self.seconds, "asked": self.asked, "reply": self.reply,
        }  # fmt: skip


class SocketLog:
    """Observes a probe; may be told by several threads."""

    def __init__(self) -> None:
        self.left_out = 0
        """How many calls came when there was no room for more."""
        self._lock = threading.Lock()  # guards what follows, and the calls
        self._calls: list[SocketCall] = []
        self._open: dict[int, SocketCall] = {}
        self._names: dict[object, str] = {}

    @property
    def calls(self) -> list[SocketCall]:
        """All so far, in the order in which they were asked."""
        with self._lock:
            return list(self._calls)

    def asked(self, request: int, op: str, args: Mapping[str, object]) -> None:
        """A request goes to the probe."""
        if op not in SOCKET_OPS:
            return
        with self._lock:
            if len(self._calls) == _MOST_CALLS:
                self.left_out += 1
                return
            call = SocketCall(
                number=len(self._calls) + 1, time=time.monotonic(), op=op, subject=self._subject(args),
                asked={name: _short(value) for name, value in args.items() if value is not None},
            )  # fmt: skip
            self._calls.append(call)
            self._open[request] = call

    def answered(self, request: int, reply: Mapping[str, Any]) -> None:
        """The probe has answered."""
        with self._lock:
            call = self._open.pop(request, None)
            if call is None:
                return
            call.seconds = time.monotonic() - call.time
            call.reply = {str(name)[:60]: _short(value) for name, value in reply.items() if name != "id"}
            if reply.get("ok") is True and isinstance(reply.get("socket"), int):
                ends = [str(reply[end])[:60] for end in ("local", "peer") if isinstance(reply.get(end), str)]
                self._names[reply["socket"]] = " -> ".join(end for end in ends if end)
            call.result = _result(call.op, reply)

    def _subject(self, args: Mapping[str, object]) -> str:
        words = []
        if args.get("socket") is not None:
            words.append(self._names.get(args["socket"]) or f"handle {args['socket']}")
        words += [str(args[name]) for name in _PLACES if args.get(name) is not None]
        data = args.get("hex")
        if isinstance(data, str):
            words.append(f"{len(data) // 2} bytes")
        return ", ".join(words)


def _result(op: str, reply: Mapping[str, Any]) -> str:
    if reply.get("ok") is not True:
        return str(reply.get("error") or reply.get("message") or "failed")[:_LONGEST_TEXT]
    if op in ("tcp_connect", "accept"):
        there = "connected from" if op == "tcp_connect" else "connection to"
        ends = f"{there} {reply.get('local', '?')}" + (f" from {reply.get('peer', '?')}" if op == "accept" else "")
        return ends[:_LONGEST_TEXT]
    if isinstance(reply.get("local"), str):
        return f"at {reply['local']}"[:_LONGEST_TEXT]
    if isinstance(reply.get("hex"), str):
        count = len(reply["hex"]) // 2
        sender = f" from {reply['peer']}" if isinstance(reply.get("peer"), str) else ""
        return (f"{count} bytes{sender}" if count else "end of the stream")[:_LONGEST_TEXT]
    return "done"


def _short(value: object) -> object:
    if isinstance(value, str) and len(value) > 2 * _MOST_BYTES:
        return f"{value[: 2 * _MOST_BYTES]}... ({len(value)} characters)"
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, dict)) and len(value) > _MOST_MEMBERS:
        return f"({len(value)} members)"
    return str(value)[:_LONGEST_TEXT]
