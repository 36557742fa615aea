"""Requests and answers: one JSON object a line, ASCII, bounded; what is none is passed over.

The nonce of a request is given back with its answer. A guest that was put back to a snapshot may have half a line in
its buffers: whoever asks begins with an empty line, and believes an answer by its nonce alone.
"""

from __future__ import annotations

import json
import os
from typing import Any, Protocol

REQUEST_MAX = 4096
ANSWER_MAX = 65536


class Refused(Exception):
    """What was asked did not work: the name of the error, and a sentence."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Answers(Protocol):
    """What answers one request."""

    def answer(self, op: str, request: dict[str, Any]) -> dict[str, Any]:
        """The members of the answer; raises Refused."""


def serve(port: int, requests: Answers) -> None:
    """Answer until the port ends."""
    pending = b""
    while chunk := os.read(port, REQUEST_MAX):
        *lines, pending = (pending + chunk).split(b"\n")
        if len(pending) > REQUEST_MAX:
            pending = b""
        for line in lines:
            answer = _answer(line, requests)
            if answer is not None:
                _write(port, answer)


def _answer(line: bytes, requests: Answers) -> bytes | None:
    try:
        request = json.loads(line)
    except ValueError:
        return None
    if len(line) > REQUEST_MAX or not isinstance(request, dict) or not isinstance(request.get("nonce"), str):
        return None
    begin = {"nonce": request["nonce"][:64]}
    try:
        done = {**begin, "ok": True, **requests.answer(str(request.get("op")), request)}
    except Refused as refused:
        done = {**begin, "ok": False, "error": refused.name, "message": str(refused)}
    except OSError as error:
        done = {**begin, "ok": False, "error": type(error).__name__, "message": str(error)}
    except (ValueError, TypeError, KeyError) as error:
        done = {**begin, "ok": False, "error": "BadRequest", "message": f"{type(error).__name__}: {error}"}
    raw = json.dumps(done, separators=(",", ":")).encode()
    if len(raw) >= ANSWER_MAX:
        short = {**begin, "ok": False, "error": "TooLong", "message": f"The answer has {len(raw)} bytes."}
        raw = json.dumps(short, separators=(",", ":")).encode()
    return raw + b"\n"


def _write(port: int, data: bytes) -> None:
    while data:
        data = data[os.write(port, data) :]
