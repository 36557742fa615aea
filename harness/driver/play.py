"""The guest as a driver of sequences: the steps of harness.oracle, done by wfpcallout.sys and the probe.

The driver carries out what is the filter engine's, the probe sends the datagrams, and two witnesses tell: the driver's
events which callouts were asked and how, the link tells whether the datagram left and for where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from ipaddress import IPv4Address
from typing import Any

from harness.driver.interface import EVENT_PLAY_CLASSIFY, EVENT_PLAY_DELETED, EVENT_PLAY_STEP, PLAY_RESET
from harness.errors import TransportError
from harness.guest import ProbeClient
from harness.oracle import Call, Observed, Step
from harness.oracle.operations import At, Operation, Send, SendAsProxy
from harness.wfp import constant, layer_id, status_name

SERVER_PORT = 53  # and 54: flows with an odd number go there
REDIRECTED = "198.51.0.0"  # the n-th redirection goes n behind it
WITHOUT: tuple[type[Operation], ...] = (SendAsProxy,)  # redirect records of UDP, which the probe has no way to
_SECONDS = 60.0

Datagram = tuple[str, bytes]  # address that it went to, payload


class Play:
    """Carries out sequences. `events` gives the driver's events since it was last asked, `sent` the guest's datagrams.

    `server` is the address of a station that takes datagrams at ports 53 and 54, `fence` one that echoes over TCP.
    """

    def __init__(
        self,
        probe: ProbeClient,
        *,
        server: str,
        fence: str,
        events: Callable[[], Iterable[Mapping[str, Any]]],
        sent: Callable[[], Iterable[Datagram]],
    ) -> None:
        self._probe = probe
        self._ends = {"server": f"{server}:{SERVER_PORT}", "fence": fence, "redirected": REDIRECTED}
        self._server = server
        self._events, self._sent = events, sent
        self.runs = 0

    def run(self, steps: Sequence[Step]) -> list[Observed]:
        """What came of each step, in a world that begins as at the start and is gone afterwards."""
        self.runs += 1
        tuple(self._sent())
        words = ";".join(step.operation.words() for step in steps)
        reply = self._probe.request("drv_play", seconds=_SECONDS, steps=words, **self._ends)
        statuses = reply["statuses"]
        if len(statuses) != len(steps):
            raise TransportError(f"The probe carried out {len(statuses)} steps, wanted {len(steps)}.")
        wire = {payload.decode(errors="replace"): address for address, payload in self._sent()}
        parts = part_events(self._events(), len(steps))
        return [
            self._observed(step, status, part, wire.get(f"step {number}"))
            for number, (step, status, part) in enumerate(zip(steps, statuses, parts, strict=True), start=1)
        ]

    def _observed(self, step: Step, status: int, events: Sequence[Mapping[str, Any]], to: str | None) -> Observed:
        sends = isinstance(step.operation, Send)
        return Observed(
            status=status_name(status),
            calls=tuple(_call(event) for event in events if event["kind"] == EVENT_PLAY_CLASSIFY),
            passed=to is not None if sends else None,
            to=None if to is None else 0 if to == self._server else int(IPv4Address(to)) - int(IPv4Address(REDIRECTED)),
            deleted=tuple(_deleted(event) for event in events if event["kind"] == EVENT_PLAY_DELETED),
        )


def part_events(events: Iterable[Mapping[str, Any]], count: int) -> list[list[Mapping[str, Any]]]:
    """Events by their step: what stands before its PLAY_STEP and behind that of the step before.

    Raises TransportError when a step is missing.
    """
    parts: list[list[Mapping[str, Any]]] = [[]]
    for event in events:
        if event["kind"] != EVENT_PLAY_STEP:
            parts[-1].append(event)
        elif event["rule"] == PLAY_RESET:
            parts = [[]]
        else:
            parts.append([])
    if len(parts) != count + 2:  # the end of the play is a step as well
        raise TransportError(f"The driver told of {len(parts) - 2} steps, wanted {count}.")
    return parts[:count]


def _call(event: Mapping[str, Any]) -> Call:
    is_redirect = event["layer"] == _ids()[At.REDIRECT]
    return Call(
        at=_at(event),
        callout=int(event["value"]),
        right=bool(event["rights"] & constant("FWPS_RIGHT_ACTION_WRITE")),
        context=int(event["flow_context"]),
        state=int(event["redirect_state"]) - 1 if is_redirect else 0,
        told=int(event["rule"]) if is_redirect else 0,
    )


def _deleted(event: Mapping[str, Any]) -> tuple[int, int, int]:
    return int(_at(event)), int(event["value"]), int(event["flow_context"])


@cache
def _ids() -> dict[At, int]:
    return {at: layer_id(at.layer) for at in At}


def _at(event: Mapping[str, Any]) -> At:
    return next(at for at, number in _ids().items() if number == event["layer"])
