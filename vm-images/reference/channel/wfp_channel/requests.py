"""What the second channel does for the harness; none of it needs the network, and none of it waits without end."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wfp_channel import management, processes
from wfp_channel.line import Refused

VERSION = 1
READ_MAX = 24 << 10  # bytes a piece: base64 makes a third more of them
LIST_MAX = 256
_SECONDS_MAX = 120.0
_STACK_SECONDS = 20.0
_TAIL = 2000
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Requests:
    """The operations; `prefix` is Wine's, `folder` where what is fetched in pieces is laid down."""

    def __init__(self, *, prefix: str, wine: str, folder: str) -> None:
        self._prefix = Path(prefix)
        self._wine = wine
        self._folder = Path(folder)
        self._ops: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "hello": self._hello,
            "stop": self._stop,
            "kill": self._kill,
            "processes": self._processes,
            "stacks": self._stacks,
            "list": self._list,
            "read": self._read,
            "hash": self._hash,
            "management": lambda request: management.take_part(str(request["phase"])),
        }

    def answer(self, op: str, request: dict[str, Any]) -> dict[str, Any]:
        """The members of the answer to one request; raises Refused."""
        if op not in self._ops:
            raise Refused("UnknownOperation", f"There is no operation '{op[:60]}'.")
        return self._ops[op](request)

    def _hello(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": VERSION,
            "kind": "reference",
            "pid": os.getpid(),
            "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "uptime": float(Path("/proc/uptime").read_text().split()[0]),
            "management": management.is_listening(),
            "drivers": sorted(
                {driver for pid in processes.find("winedevice.exe") for driver in processes.drivers(pid)}
            ),
        }

    def _stop(self, request: dict[str, Any]) -> dict[str, Any]:
        name = str(request["service"])
        if not _NAME.fullmatch(name):
            raise Refused("BadRequest", f"'{name[:60]}' is no name of a service.")
        seconds = _seconds(request)
        words = [self._wine, "sc.exe", "stop", name]
        began = time.monotonic()
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=5)
                raise Refused("Timeout", f"'sc stop {name}' did not end within {seconds:.1f} s.") from None
        out = said.decode(errors="replace")
        return {
            "code": process.returncode,
            "stopped": process.returncode in (0, 1062),
            "said": out[-_TAIL:],
            "seconds": round(time.monotonic() - began, 3),
        }

    def _kill(self, request: dict[str, Any]) -> dict[str, Any]:
        found = processes.find(str(request["process"]))
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return {"killed": found}

    def _processes(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"processes": processes.listed()[:LIST_MAX]}

    def _stacks(self, request: dict[str, Any]) -> dict[str, Any]:
        """Taken by a process of its own, which the kernel parts from the threads it holds, however it ends."""
        target = self._folder / "threads.json"
        target.unlink(missing_ok=True)
        found = processes.find(str(request["process"]))[:16]
        if not found:
            raise Refused("NoProcess", f"There is no process '{request['process']}'.")
        seconds = min(_seconds(request), _STACK_SECONDS)
        child = os.fork()
        if child == 0:
            try:
                from wfp_channel import stacks

                taken = [stacks.take(pid) for pid in found]
                temporary = target.with_suffix(".new")
                temporary.write_text(json.dumps({"processes": taken}))
                temporary.rename(target)
                os._exit(0)
            finally:
                os._exit(1)
        if not _ends(child, seconds):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise Refused("Timeout", f"The stacks were not taken within {seconds:.1f} s.")
        if not target.is_file():
            raise Refused("Failed", "The stacks could not be taken.")
        return {"path": str(target), "size": target.stat().st_size, "sha256": _sha256(target)}

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        files = []
        for path in sorted(self._path(request["path"]).iterdir())[:LIST_MAX]:
            facts = path.lstat()
            files.append(
                {"name": path.name, "size": facts.st_size, "time": int(facts.st_mtime), "folder": path.is_dir()}
            )
        return {"files": files}

    def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        offset, count = int(request.get("offset", 0)), min(int(request.get("count", READ_MAX)), READ_MAX)
        with self._path(request["path"]).open("rb") as file:
            file.seek(offset)
            piece = file.read(count)
        return {"data": base64.b64encode(piece).decode(), "end": len(piece) < count}

    def _hash(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self._path(request["path"])
        return {"size": path.stat().st_size, "sha256": _sha256(path)}

    def _path(self, given: object) -> Path:
        r"""A path as Windows writes it, C:\folder\file, is one in Wine's prefix; any other is Linux' own."""
        text = str(given)
        if re.match(r"[A-Za-z]:[\\/]", text):
            return self._prefix / f"drive_{text[0].lower()}" / text[3:].replace("\\", "/")
        if not text.startswith("/"):
            raise Refused("BadRequest", f"'{text[:200]}' is no absolute path.")
        return Path(text)


def _seconds(request: dict[str, Any]) -> float:
    return max(0.1, min(float(request.get("seconds", 20.0)), _SECONDS_MAX))


def _ends(child: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)  # noqa: TID251 - nothing else waits for a child no longer than so many seconds
    return True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
