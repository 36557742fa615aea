"""The guest as a driver of sequences, with a probe that plays the guest by the specification itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from harness.driver.play import WITHOUT, Play, part_events
from harness.errors import TransportError
from harness.oracle import Outcome, Specification, disagreement, operations, plan
from harness.oracle.operations import At, Operation, Send
from harness.oracle.searching import search
from harness.wfp import layer_id, status_value

SERVER = "198.51.100.53"
STEP, CLASSIFY, DELETED = 16, 17, 18
RESET, STOP = 1, 2


def step_end(op: int, number: int) -> dict[str, Any]:
    return {"kind": STEP, "rule": op, "value": number}


class PlayedGuest:
    """Answers 'drv_play' as a guest would in which all is as specified; `alter` may make it another one."""

    def __init__(self, alter: Callable[[Operation, Outcome], Outcome] = lambda _, outcome: outcome) -> None:
        self.alter = alter
        self.waiting: list[dict[str, Any]] = []
        self.frames: list[tuple[str, bytes]] = []
        self.asked: list[str] = []

    def request(self, op: str, *, seconds: float, steps: str, **ends: str) -> dict[str, Any]:
        assert op == "drv_play"
        assert seconds > 0
        assert ends == {"server": f"{SERVER}:53", "fence": "192.0.2.9:7", "redirected": "198.51.0.0"}
        world, statuses = Specification(), []
        self.asked.append(steps)
        self.waiting = [{"kind": 7}, step_end(RESET, 0)]
        for number, line in enumerate(steps.split(";"), start=1):
            operation = read(line)
            outcome = self.alter(operation, world.step(operation))
            self.waiting += [*map(call_event, outcome.calls), *map(deleted_event, outcome.deleted), step_end(3, number)]
            statuses.append(status_value(min(outcome.status)))
            if outcome.passed:
                to = f"198.51.0.{outcome.to}" if outcome.to else SERVER
                self.frames.append((to, f"step {number}".encode()))
        self.waiting.append(step_end(STOP, len(statuses) + 1))
        return {"statuses": statuses}

    def events(self) -> Iterable[dict[str, Any]]:
        taken, self.waiting = self.waiting, []
        return taken

    def sent(self) -> Iterable[tuple[str, bytes]]:
        taken, self.frames = self.frames, []
        return taken

    def play(self) -> Play:
        return Play(self, server=SERVER, fence="192.0.2.9:7", events=self.events, sent=self.sent)  # type: ignore[arg-type]


def read(line: str) -> Operation:
    """A step from the line that the probe is given."""
    name, *numbers = line.split()
    kind = getattr(operations, name)
    kinds = {"At": At, "Act": operations.Act, "Answer": operations.Answer, "bool": bool, "int": int}
    fields = [kinds[re.sub(r"\W", "", str(field.type))] for field in kind.__dataclass_fields__.values()]
    made: Operation = kind(*(field(int(number)) for field, number in zip(fields, numbers, strict=True)))
    return made


def call_event(call: Any) -> dict[str, Any]:
    is_redirect = call.at is At.REDIRECT
    return {
        "kind": CLASSIFY, "layer": layer_id(call.at.layer), "value": call.callout, "rights": int(call.right),
        "flow_context": call.context, "redirect_state": call.state + 1 if is_redirect else 0,
        "rule": call.told if is_redirect else 77,
    }  # fmt: skip


def deleted_event(deleted: tuple[int, int, int]) -> dict[str, Any]:
    at, callout, value = deleted
    return {"kind": DELETED, "layer": layer_id(At(at).layer), "value": callout, "flow_context": value}


def test_a_guest_that_does_what_is_specified_agrees() -> None:
    guest = PlayedGuest()
    play = guest.play()
    assert search(play.run, examples=25, without=WITHOUT) is None
    assert play.runs >= 20
    kinds = {line.split()[0] for steps in guest.asked for line in steps.split(";")}
    assert {"Send", "Associate", "AddFilter", "Behave", "Close", "Commit"} <= kinds
    assert "SendAsProxy" not in kinds


def lets_all_pass(operation: Operation, outcome: Outcome) -> Outcome:
    return Outcome(calls=outcome.calls, passed=True, unsure=outcome.unsure) if isinstance(operation, Send) else outcome


def test_a_guest_that_does_not_is_found_out_and_the_way_to_it_made_short() -> None:
    problem = search(PlayedGuest(lets_all_pass).play().run, examples=25, without=WITHOUT)
    assert problem is not None
    assert "it is dropped by the specification, seen that it passes" in problem
    assert problem.count("\n") <= 6, problem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"calls": ()}, "calls at OUTBOUND_TRANSPORT_V4"),
        ({"passed": False}, "the datagram: it passes by the specification, seen that it is dropped"),
        ({"to": 9}, "redirected to: 0 by the specification, seen 9"),
        ({"deleted": ((3, 0, 5),)}, "flowDeleteFn: []"),
        ({"status": frozenset({"STATUS_FWP_IN_USE"})}, "seen STATUS_FWP_IN_USE"),
    ],
)
def test_whatever_is_seen_of_a_datagram_counts(change: dict[str, Any], words: str) -> None:
    terminating = operations.Act.TERMINATING
    sequence = [
        operations.AddSublayer(0),
        operations.AddCallout(0, At.TRANSPORT),
        operations.Register(0, deletes=True, conditional=False),
        operations.AddFilter(0, At.TRANSPORT, 0, terminating, 0, clear_right=False, permit_unregistered=False, port=0),
        operations.Send(1),
    ]

    def alter(operation: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(operation, Send):
            return outcome
        kept = {"calls": outcome.calls, "passed": outcome.passed, "to": outcome.to, "deleted": outcome.deleted}
        return Outcome(**(kept | change))

    steps = plan(sequence)
    assert len(steps) == len(sequence)
    assert disagreement(steps, PlayedGuest().play().run(steps)) is None
    problem = disagreement(steps, PlayedGuest(alter).play().run(steps))
    assert problem is not None
    assert words in problem


def test_events_from_before_the_play_belong_to_no_step() -> None:
    early, one, two = {"kind": 7, "n": 0}, {"kind": 17, "n": 1}, {"kind": 18, "n": 2}
    events = [
        early,
        step_end(RESET, 0),
        one,
        step_end(4, 1),
        step_end(3, 2),
        two,
        step_end(3, 3),
        early,
        step_end(STOP, 4),
    ]
    assert part_events(events, 3) == [[one], [], [two]]


def test_a_step_that_nobody_tells_of_is_no_pass() -> None:
    with pytest.raises(TransportError, match="told of 1 steps, wanted 2"):
        part_events([step_end(RESET, 0), step_end(4, 1), step_end(STOP, 3)], 2)
