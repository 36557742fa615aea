"""The guest and the executable specification side by side: random sequences of steps, held step by step.

A disagreement is shown as the fewest steps that have it. The same examples each time; `--examples 500` tries
more of them, `--seed 7` others.
"""

from __future__ import annotations

from itertools import count

import pytest

from harness.driver.play import WITHOUT, Play
from harness.link import Direction
from harness.oracle import Specification
from harness.oracle import operations as op
from harness.oracle.operations import Act, Answer, At
from harness.oracle.searching import search, short_disagreement

pytestmark = pytest.mark.misuse("any")  # sequences ask what comes of mistakes as well

SERVER = "198.51.100.53"
FENCE = "198.51.100.54"
EXAMPLES = 6


@pytest.fixture
def play(driver, probe, stations, witness, trace):
    """Carries out sequences in the guest."""
    for port in (53, 54):
        stations.add(SERVER).udp(port)
    stations.add(FENCE).tcp_listen(7, echo=True)
    since = [witness.mark()]

    def events():
        for _ in count():
            batch = driver.read_events()
            trace.take_batch(batch)
            yield from batch.events
            if not batch.more:
                return

    def sent():
        begin, since[0] = since[0], witness.mark()
        frames = witness.frames(since=begin)
        out = [frame for frame in frames if frame.direction is Direction.FROM_GUEST and frame.proto == "udp"]
        return [(frame.dst, frame.payload) for frame in out if frame.dport in (53, 54)]

    tuple(events())
    return Play(probe, server=SERVER, fence=f"{FENCE}:7", events=events, sent=sent)


@pytest.mark.rule("W090", "W091", "W096", "W100", "W123", "W124", "W187", "W192", "W195")
def test_the_guest_does_what_the_documents_say(play, host, seed):
    """Random sequences of filters, callouts, transactions, datagrams and flow contexts come to what is specified."""
    problem = search(play.run, examples=host.examples or EXAMPLES, seed=seed, without=WITHOUT)
    assert problem is None, f"\n{problem}"


class AsksTheLightestFirst(Specification):
    """Wrong on purpose: of a sublayer's filters it takes the one of least weight to be asked first."""

    def _matching(self, at, sublayer, number):
        return reversed(list(super()._matching(at, sublayer, number)))


WITH_NOISE = [
    op.AddSublayer(0),
    op.AddSublayer(2),
    op.AddCallout(0, At.TRANSPORT),
    op.AddCallout(1, At.CONNECT),
    op.Register(0, deletes=True, conditional=False),
    op.Register(1, deletes=False, conditional=False),
    op.AddFilter(1, At.TRANSPORT, 0, Act.PERMIT, 0, clear_right=False, permit_unregistered=False, port=0),
    op.Behave(1, Answer.PERMIT, clears=True, redirects=False),
    op.AddFilter(5, At.TRANSPORT, 0, Act.TERMINATING, 0, clear_right=False, permit_unregistered=False, port=0),
    op.AddFilter(3, At.CONNECT, 2, Act.INSPECTION, 1, clear_right=False, permit_unregistered=False, port=1),
    op.Begin(),
    op.Commit(),
    op.Send(1),
    op.Close(1),
]


@pytest.mark.rule("W091")
def test_a_wrong_specification_is_found_out_and_made_short(play):
    """A specification with a fault disagrees with the guest, and what is left are the few steps that show the fault."""
    problem = short_disagreement(play.run, WITH_NOISE, specification=AsksTheLightestFirst, without=WITHOUT)
    assert problem is not None, f"none of {play.runs} runs showed the fault"
    kinds = [line.split()[1].partition("(")[0] for line in problem.splitlines()[:-1]]
    assert kinds == ["AddSublayer", "AddCallout", "AddFilter", "AddFilter", "Send"], f"\n{problem}"
