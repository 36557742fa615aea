"""Every wait in the harness has an end: parsed, so that the next one has one, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Without an argument these wait for ever; `get` of a dictionary has one, and so has `join` of a text.
_ENDLESS = {"wait", "join", "get", "result", "acquire", "poll", "communicate", "accept", "recv"}
_PROGRAMS = {"run", "call", "check_call", "check_output"}
# Threads that serve: what they wait for is their own end, and `close` brings it; nobody waits for them but with a time.
_SERVING = {
    ("harness/link/memory.py", "_serve"): "the inbox of a link's own thread; close() puts None into it",
    ("harness/plugin/workers.py", "_accept"): "the acceptor of workers' lines; a line of the harness' own ends it",
    ("harness/traffic/timers.py", "_next"): "the timers' own thread; close() notifies it",
    (
        "harness/guest/running.py",
        "_hold_at_gate",
    ): "a command's reader, held for a snapshot; held() opens the gate",
    ("harness/guest/running.py", "_wait_until_awaited"): "the reader of a command; abandon() notifies it",
    ("harness/plugin/trying.py", "_serve"): "a process that attempts for another one; its end closes the line",
}
# What they wait for has an end of its own, with deadlines inside.
_BOUNDED_WITHIN = {
    ("harness/minimise/tries.py", "first_failing"): "attempts, each with the deadlines of a scenario",
    ("harness/minimise/tries.py", "attempt"): "one of as many runners as there are threads that take them",
    ("harness/plugin/trying.py", "_receive"): "an attempt in another process; that one's end closes the line",
    ("harness/nightly/cell_run.py", "join"): "a thread that supervises a run, which has its minutes",
    (
        "harness/nightly/pool.py",
        "_take",
    ): "such a thread, which has said that it is about to end, or whose run was interrupted and has a time to clear up",
}
# They end at once, whatever their name says.
_AT_ONCE = {
    ("harness/link/stream.py", "accept"): "select has said that somebody is there",
    ("harness/link/memory.py", "drain"): "looked whether it is empty, and nobody else takes from it",
    ("harness/process.py", "start"): "poll of a process looks, and does not wait",
    ("harness/guest/probe.py", "tcp_connect"): "a connect that was begun has its own time",
    ("harness/guest/probe.py", "tcp_connect_all"): "a connect that was begun has its own time",
    ("harness/waiting.py", "__init__"): "a context variable",
    ("harness/capture/reader.py", "read"): "a method of the reader that gives what was read",
    ("harness/waiting.py", "bounding"): "a context variable",
}


def _endless(call: ast.Call) -> str | None:
    """What a call that may wait for ever is called, or None."""
    if not isinstance(call.func, ast.Attribute):
        return None
    name = call.func.attr
    words = {keyword.arg for keyword in call.keywords}
    no_time = not call.args and not words & {"timeout", "seconds"}
    found = None
    if name == "poll" and _of(call.func, "select"):
        return None  # makes a poll object
    if name in _ENDLESS and (no_time or (name == "communicate" and "timeout" not in words)):
        found = name
    elif name == "wait_for" and len(call.args) == 1 and "timeout" not in words:
        found = "wait_for of a condition"
    elif name == "settimeout" and call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value is None:
        found = "settimeout(None)"
    elif name == "select" and len(call.args) == 3:
        found = "select"
    elif (
        name in {"run", "call", "check_call", "check_output"}
        and _of(call.func, "subprocess")
        and "timeout" not in words
    ):
        found = f"subprocess.{name}"
    elif name in {"flock", "lockf"} and "LOCK_EX" in ast.unparse(call) and "LOCK_NB" not in ast.unparse(call):
        found = name
    return found


def _of(function: ast.Attribute, module: str) -> bool:
    return isinstance(function.value, ast.Name) and function.value.id == module


def _waits(path: Path) -> Iterator[tuple[str, int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        what = _endless(call)
        if what is not None:
            around = [f for f in functions if f.lineno <= call.lineno <= (f.end_lineno or 0)]
            yield (max(around, key=lambda f: f.lineno).name if around else ""), call.lineno, what


def test_no_wait_is_without_an_end():
    found = {
        (
            str(path.relative_to(ROOT)),
            function,
        ): f"{path.relative_to(ROOT)}:{line}: {what} without a time, in {function}()"
        for path in sorted((ROOT / "harness").rglob("*.py"))
        for function, line, what in _waits(path)
    }
    known = _SERVING.keys() | _AT_ONCE.keys() | _BOUNDED_WITHIN.keys()

    assert not [said for place, said in found.items() if place not in known]
    assert not known - found.keys(), "these are exceptions from nothing any more"


def test_the_check_sees_what_it_is_for():
    endless = [
        "event.wait()", "thread.join()", "queue.get()", "future.result()", "lock.acquire()",
        "process.communicate(data)",
        "condition.wait_for(lambda: done)", "sock.settimeout(None)", "select.select(a, b, c)", "subprocess.run(words)",
        "fcntl.flock(lock, fcntl.LOCK_EX)", "poller.poll()",
    ]  # fmt: skip
    bounded = [
        "event.wait(3)", "thread.join(timeout=3)", "queue.get(timeout=1)", "', '.join(words)", "table.get(key)",
        "condition.wait_for(lambda: done, 3)", "sock.settimeout(3)", "select.select(a, b, c, 3)", "connection.recv(5)",
        "process.communicate(data, timeout=3)", "subprocess.run(words, timeout=3)",
        "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    ]  # fmt: skip

    def seen(text: str) -> bool:
        return _endless(next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))) is not None

    assert [text for text in endless if not seen(text)] == []
    assert [text for text in bounded if seen(text)] == []
