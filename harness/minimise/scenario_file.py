"""A scenario in Python from a small capture: it fails by itself while the driver has its fault."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.capture import Capture
from harness.errors import HostError
from harness.link.headers import address_text
from harness.minimise.packets import written
from harness.minimise.verdict import Verdict
from harness.printable import printable
from harness.report import Outcome

_WIDTH = 120
_WORD = re.compile(r"[^a-z0-9]+")
_DID = {Outcome.CRASH: "crashed", Outcome.HANG: "hung", Outcome.FAIL: "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a scenario comes from; what it says of itself."""

    source: str
    packets: int
    driver: str
    driver_sha256: str
    guest_title: str
    criterion: str
    seen: str
    guest_address: str


def write_scenario(path: Path, capture: Capture, verdict: Verdict, origin: Provenance) -> None:
    """Write it; raises HostError when that cannot be done."""
    try:
        path.write_text(scenario_text(capture, verdict, origin), encoding="utf-8")
    except OSError as error:
        raise HostError(f"The scenario '{path}' cannot be written: {error.strerror}.") from error


def scenario_text(capture: Capture, verdict: Verdict, origin: Provenance) -> str:
    """The whole file."""
    names = _names(capture, origin.guest_address)
    calls = [
        written(packet, names, after=(packet.time - before.time) / 1e9 if before is not None else 0)
        for before, packet in zip((None, *capture.packets), capture.packets, strict=False)
    ]
    functions = sorted({call.partition("(")[0] for call in calls})
    constants = [f'{name} = "{value}"' for value, name in names.items()]
    lines = [
        *_docstring(capture, verdict, origin),
        "",
        f"from harness.minimise.packets import {', '.join(functions)}",
        "",
        *constants,
        "",
        "",
        f"def test_{_slug(verdict, origin)}(replay):",
        *_title(capture, verdict, origin),
        "    replay(",
        *_indented(calls),
        f"        guest={origin.guest_address!r},".replace("'", '"'),
        "    )",
        "",
    ]
    return "\n".join(lines)


def _docstring(capture: Capture, verdict: Verdict, origin: Provenance) -> list[str]:
    """How it came about, for whoever opens the file a year later."""
    driver = _safe(origin.driver)
    words = (
        f"The driver was {driver} (SHA-256 {origin.driver_sha256[:16]}...) on the guest '{_safe(origin.guest_title)}'; "
        f"what was looked for: {_safe(origin.criterion)}. These packets came to it in {_safe(origin.seen)}."
    )
    first = (
        f'"""{len(capture)} of {origin.packets:,} packets of {_safe(Path(origin.source).name)}: {_safe(str(verdict))}.'
    )
    run = f"    wfp-hil run --driver {driver} THIS_FILE"
    return [*_wrap(first), "", *_wrap(words), "", run, '"""']


def _title(capture: Capture, verdict: Verdict, origin: Provenance) -> list[str]:
    place = f" in {verdict.crash.symbol}" if verdict.crash is not None and verdict.crash.symbol else ""
    did = _DID.get(verdict.outcome, "failed")
    count = "One packet" if len(capture) == 1 else f"{len(capture)} packets"
    text = f'"""{count} by which {_safe(origin.driver)} has {did}{_safe(place)} leave the guest as it should be."""'
    return _wrap(text, indent="    ")


def _indented(calls: Sequence[str]) -> list[str]:
    lines = []
    for call in calls:
        line = f"        {call},"
        if len(line) <= _WIDTH:
            lines.append(line)
        else:  # of bytes that cannot be told shorter
            lines += [f"        {call},  # noqa: E501"]
    return lines


def _names(capture: Capture, guest_address: str) -> dict[str, str]:
    """A name for each endpoint: GUEST, PEER, PEER_2; by port where one host has several."""
    ends: list[tuple[str, int | None]] = []
    for packet in capture.packets:
        ip = packet.ip
        if ip is None:
            continue
        for address, port in zip((ip.source, ip.destination), ip.ports, strict=True):
            end = address_text(address), port if any(ip.ports) else None
            if end not in ends:
                ends.append(end)
    hosts = list(dict.fromkeys(address for address, _ in ends))
    peers = [host for host in hosts if host != guest_address]
    ports = Counter(address for address, _ in ends)
    names: dict[str, str] = {}
    for host, number in ends:
        name = "GUEST" if host == guest_address else "PEER"
        if name == "PEER" and len(peers) > 1:
            name += f"_{peers.index(host) + 1}"
        if ports[host] > 1:
            name += f"_PORT_{number}" if number is not None else "_ADDRESS"
        names[host if number is None else _text(host, number)] = name
    return names


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _slug(verdict: Verdict, origin: Provenance) -> str:
    where = verdict.crash.symbol if verdict.crash is not None and verdict.crash.symbol else Path(origin.driver).stem
    words = _WORD.sub("_", f"{where} {_DID.get(verdict.outcome, 'failed')} by these packets".lower())
    return words.strip("_")[:80]


def _safe(text: str) -> str:
    """Fit for a docstring: what comes from a guest or a file name ends no string and hides no character."""
    return printable(text).replace("\\", "/").replace('"', "'").replace("\n", " ")[:300]


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH - 4, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
