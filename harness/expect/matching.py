"""Comparing what a scenario asks for with recorded things, field by field, and finding the nearest miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from harness.errors import UsageError

Want = object
"""A value, or a function of the seen value that answers whether it fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Something recorded: its fields to compare, and how to show it."""

    fields: Mapping[str, object]
    text: str


def check_names(wanted: Mapping[str, Want], known: Sequence[str], noun: str) -> None:
    """Raise UsageError for a field that no `noun` has: a misspelt one would make every 'none' true."""
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, 3, 0.5) or known
            raise UsageError(f"A {noun} has no field '{name}'.", hint=f"Fields: {', '.join(near)}.")


def fits(want: Want, seen: object) -> bool:
    """Whether a seen value is what was asked for.

    '198.51.100.5' fits any port of that address, ':80' any address with that port.
    """
    if callable(want):
        return bool(want(seen))
    if isinstance(want, (set, frozenset, tuple, list)):
        return any(fits(each, seen) for each in want)
    if isinstance(want, (bytes, bytearray, bool, int)) and not isinstance(seen, str):
        return want == seen
    return _same_text(plain(want).lower(), plain(seen).lower())


def _same_text(want: str, seen: str) -> bool:
    host, _, port = seen.rpartition(":")
    bare_ipv6 = ":" in host and not host.endswith("]")  # an address without a port
    partial = (host, host.strip("[]"), f":{port}") if host and port.isdigit() and not bare_ipv6 else ()
    return want == seen or want in partial


def plain(value: object) -> str:
    """A value as it is compared: sockets stand for their local address."""
    local = getattr(value, "local", None)
    return str(local) if local is not None else str(value)


def differences(wanted: Mapping[str, Want], record: Record) -> list[str]:
    """Names of the fields in which a record is not what was asked for."""
    return [name for name, want in wanted.items() if not fits(want, record.fields.get(name))]


def find_all(wanted: Mapping[str, Want], records: Sequence[Record]) -> list[Record]:
    """The records that fit, in order."""
    return [record for record in records if not differences(wanted, record)]


def describe(wanted: Mapping[str, Want]) -> str:
    """What was asked for, as words."""
    return ", ".join(f"{name}={_show(want)}" for name, want in wanted.items()) or "anything"


def nearest_miss(wanted: Mapping[str, Want], records: Sequence[Record]) -> str | None:
    """The record that differs in the fewest fields, and in which; None when none shares a field."""
    best: tuple[int, Record, list[str]] | None = None
    for record in records:
        wrong = differences(wanted, record)
        if len(wrong) < len(wanted) and (best is None or len(wrong) < best[0]):
            best = (len(wrong), record, wrong)
    if best is None or not best[2]:
        return None
    _, record, wrong = best
    details = " and ".join(f"{name} {_show(record.fields.get(name))}" for name in wrong)
    return f"{record.text}, whose {details} is not as wanted"


def sample(records: Sequence[Record], limit: int = 4) -> str:
    """The first few records, as words."""
    shown = "; ".join(record.text for record in records[:limit])
    return shown + (f"; and {len(records) - limit} more" if len(records) > limit else "")


def _show(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return f"{bytes(value[:32])!r}{'...' if len(value) > 32 else ''}"
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return "as the scenario's function says"
    return f"'{plain(value)}'"
