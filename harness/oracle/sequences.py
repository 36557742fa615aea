"""Random sequences of operations, for Hypothesis.

Wholly random ones meet nothing but errors: most filters would name callouts of other layers, and most datagrams no
filter at all. So a sequence has a stage, where the callouts are mostly at one layer, then filters there, then anything.
"""

from __future__ import annotations

from hypothesis import strategies as st

from harness.oracle import operations as op
from harness.oracle.operations import Act, Answer, At, Operation

sublayers = st.integers(0, op.SUBLAYERS - 1)
callouts = st.integers(0, op.CALLOUTS - 1)
filters = st.integers(0, op.FILTERS - 1)
flows = st.sampled_from([0, 0, 1, 1, 2, 3])
layers = st.sampled_from(At)
seldom = st.sampled_from([False, False, False, True])

objects = st.one_of(
    st.builds(op.AddSublayer, sublayers),
    st.builds(op.AddCallout, callouts, layers),
    st.builds(op.Register, callouts, st.booleans(), seldom),
)
behaviours = st.builds(op.Behave, callouts, st.sampled_from(Answer), seldom, st.booleans())
sending = st.builds(op.Send, flows)
undoing = st.one_of(
    st.builds(op.DeleteSublayer, sublayers),
    st.builds(op.DeleteCallout, callouts),
    st.builds(op.DeleteFilter, filters),
    st.builds(op.Unregister, callouts),
)
transactions = st.sampled_from([op.Begin(), op.Commit(), op.Commit(), op.Abort()])


@st.composite
def sequences(draw: st.DrawFn) -> list[Operation]:
    """A list of operations; those that mean nothing where they stand are left out by `plan`."""
    focus = draw(layers)
    near = st.sampled_from([focus, focus, focus, *At])
    at = [draw(near) for _ in range(op.CALLOUTS)]
    steps: list[Operation] = [op.AddSublayer(number) for number in range(op.SUBLAYERS)]
    for number in range(op.CALLOUTS):
        steps.append(op.AddCallout(number, at[number]))
        steps.append(op.Register(number, deletes=draw(st.booleans()), conditional=draw(seldom)))
    policy = st.builds(
        _filter,
        filters,
        sublayers,
        st.sampled_from([*Act, Act.TERMINATING, Act.INSPECTION, Act.UNKNOWN]),
        callouts,
        seldom,
        seldom,
        st.sampled_from([0, 0, 0, 1, 2]),
        near,
    )
    contexts = st.builds(_context, flows, near, callouts, st.integers(0, 9), st.just(at))
    fitting = policy.map(lambda each: _at_home(each, at))
    steps += draw(st.lists(st.one_of(fitting, fitting, behaviours), min_size=4, max_size=10))
    kinds = {
        sending: 12, st.builds(op.SendAsProxy, flows, flows): 4, st.builds(op.Close, flows): 1, contexts: 8, fitting: 4,
        policy: 1, behaviours: 3, undoing: 3, transactions: 3, objects: 1,
    }  # fmt: skip
    weighted = [kind for kind, weight in kinds.items() for _ in range(weight)]
    then = st.sampled_from(weighted).flatmap(lambda kind: kind)
    return steps + draw(st.lists(then, min_size=16, max_size=40))


def _filter(
    number: int, sublayer: int, act: Act, callout: int, clear: bool, unregistered: bool, port: int, at: At
) -> op.AddFilter:
    return op.AddFilter(
        number, at, sublayer, act, callout, clear, unregistered and act in (Act.TERMINATING, Act.UNKNOWN), port
    )


def _context(flow: int, near: At, callout: int, value: int, at: list[At]) -> Operation:
    """Mostly an association for the layer of the callout."""
    if value > 7:
        return op.Remove(flow, at[callout], callout)
    return op.Associate(flow, near if value == 7 else at[callout], callout, value)


def _at_home(each: op.AddFilter, at: list[At]) -> op.AddFilter:
    """The filter at the layer of its callout."""
    home = at[each.callout] if each.act.calls else each.at
    act = each.act if home is not At.ESTABLISHED or each.act is Act.PERMIT else Act.INSPECTION
    return op.AddFilter(
        each.filter, home, each.sublayer, act, each.callout, each.clear_right,
        each.permit_unregistered and act is each.act, each.port,
    )  # fmt: skip
