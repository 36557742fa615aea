"""An executable specification, from the documents alone: arbitration, transactions, flow contexts, redirect records.

It shares nothing with the model of the engine: neither code nor tables. `Specification.step` says what an operation
must come to. Where the documents leave that open, or where a careful driver would not go, it raises `Unspecified`, and
the sequence goes on without that step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.oracle import operations as op
from harness.oracle.operations import Act, Answer, At, Operation

OK = frozenset({"STATUS_SUCCESS"})


class Unspecified(Exception):
    """The documents do not say what this comes to here, or it makes no sense."""


@dataclass(frozen=True, slots=True)
class Call:
    """One classifyFn: whose, where, whether it had the right to decide, and the flow context it was given."""

    at: At
    callout: int
    right: bool
    context: int
    state: int = 0  # at REDIRECT: what FwpsQueryConnectionRedirectState told it
    told: int = 0  # and the context of its own redirection; 0 = none


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step must come to."""

    status: frozenset[str] = OK  # any of these
    calls: tuple[Call, ...] = ()  # in this order
    unsure: frozenset[At] = frozenset()  # layers where there may be more calls, after a hard block (W093)
    passed: bool | None = None  # of a datagram: whether it left
    to: int = 0  # and for which redirected address; 0 = the one it was sent to
    deleted: tuple[tuple[int, int, int], ...] = ()  # flowDeleteFn: layer, callout, context; in any order


@dataclass(slots=True)
class Filter:
    """One filter."""

    at: At
    sublayer: int
    act: Act
    callout: int
    clear_right: bool
    permit_unregistered: bool
    port: int


@dataclass(slots=True)
class Objects:
    """What transactions are about."""

    sublayers: set[int] = field(default_factory=set)
    callouts: dict[int, At] = field(default_factory=dict)
    filters: dict[int, Filter] = field(default_factory=dict)


@dataclass(slots=True)
class Registered:
    """A callout's functions."""

    deletes: bool
    conditional: bool


@dataclass(slots=True)
class Behaviour:
    """What a callout does when it is called."""

    answer: Answer = Answer.PERMIT
    clears: bool = False
    redirects: bool = False


@dataclass(slots=True)
class Record:
    """One redirection of a connection: by which handle, with which context (which is also its address)."""

    handle: int
    context: int


@dataclass(slots=True)
class Flow:
    """One flow that was authorized."""

    records: list[Record]
    to: int
    policy: int  # of CONNECT, when it was authorized
    contexts: dict[tuple[At, int], int] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """How far a layer has come."""

    permit: bool = True
    right: bool = True
    hard_block: bool = False


class Specification:
    """The world after the steps so far."""

    def __init__(self) -> None:
        self.committed = Objects()
        self.pending: Objects | None = None  # of the open transaction
        self.dropped: set[tuple[str, int]] = set()  # deleted inside it
        self.registered: dict[int, Registered] = {}
        self.behaviour = {callout: Behaviour() for callout in range(op.CALLOUTS)}
        self.flows: dict[int, Flow] = {}
        self.used: set[int] = set()  # filter slots that had a filter
        self.policy = 0  # counts changes at CONNECT
        self.redirections = 0
        self._steps: dict[type[Operation], Callable[[Any], Outcome]] = {
            op.AddSublayer: self._add_sublayer,
            op.DeleteSublayer: self._delete_sublayer,
            op.AddCallout: self._add_callout,
            op.DeleteCallout: self._delete_callout,
            op.AddFilter: self._add_filter,
            op.DeleteFilter: self._delete_filter,
            op.Begin: self._begin,
            op.Commit: self._commit,
            op.Abort: self._abort,
            op.Register: self._register,
            op.Unregister: self._unregister,
            op.Behave: self._behave,
            op.Associate: self._associate,
            op.Remove: self._remove,
            op.Close: self._close,
            op.Send: self._send,
            op.SendAsProxy: self._send_as_proxy,
        }

    def step(self, operation: Operation) -> Outcome:
        """What must come of an operation, which is then done; raises Unspecified and leaves everything as it was."""
        return self._steps[type(operation)](operation)

    # ---- objects ----

    @property
    def _objects(self) -> Objects:
        return self.committed if self.pending is None else self.pending

    def _forbid_again(self, kind: str, number: int) -> None:
        if (kind, number) in self.dropped:
            raise Unspecified("deleted earlier in this transaction")

    def _drop(self, kind: str, number: int) -> None:
        if self.pending is not None:
            self.dropped.add((kind, number))

    def _add_sublayer(self, step: op.AddSublayer) -> Outcome:
        self._forbid_again("sublayer", step.sublayer)
        if step.sublayer in self._objects.sublayers:
            return _failed("STATUS_FWP_ALREADY_EXISTS")  # W038
        self._objects.sublayers.add(step.sublayer)
        return Outcome()

    def _delete_sublayer(self, step: op.DeleteSublayer) -> Outcome:
        objects = self._objects
        if step.sublayer not in objects.sublayers:
            return _failed("STATUS_FWP_SUBLAYER_NOT_FOUND")
        if any(each.sublayer == step.sublayer for each in objects.filters.values()):
            return _failed("STATUS_FWP_IN_USE")  # W040
        objects.sublayers.remove(step.sublayer)
        self._drop("sublayer", step.sublayer)
        return Outcome()

    def _add_callout(self, step: op.AddCallout) -> Outcome:
        self._forbid_again("callout", step.callout)
        if step.callout in self._objects.callouts:
            return _failed("STATUS_FWP_ALREADY_EXISTS")  # W028
        self._objects.callouts[step.callout] = step.at
        return Outcome()

    def _delete_callout(self, step: op.DeleteCallout) -> Outcome:
        objects = self._objects
        if step.callout not in objects.callouts:
            return _failed("STATUS_FWP_CALLOUT_NOT_FOUND")  # W032
        if any(each.act.calls and each.callout == step.callout for each in objects.filters.values()):
            return _failed("STATUS_FWP_IN_USE")  # W032
        if any(callout == step.callout for flow in self.flows.values() for _, callout in flow.contexts):
            raise Unspecified("it has flow contexts")
        del objects.callouts[step.callout]
        self._drop("callout", step.callout)
        return Outcome()

    def _add_filter(self, step: op.AddFilter) -> Outcome:
        objects, wrong = self._objects, set()
        if step.filter in self.used:
            raise Unspecified("the slot is taken")
        if step.permit_unregistered and (not step.act.calls or step.act is Act.INSPECTION):
            raise Unspecified("refused with a code that is not documented")  # W010
        if step.at is At.ESTABLISHED and step.act not in (Act.INSPECTION, Act.PERMIT):
            raise Unspecified("a callout there only inspects")  # W208
        if step.sublayer not in objects.sublayers:
            wrong.add("STATUS_FWP_SUBLAYER_NOT_FOUND")  # W035
        if step.act.calls and step.callout not in objects.callouts:
            wrong.add("STATUS_FWP_CALLOUT_NOT_FOUND")  # W033
        elif step.act.calls and objects.callouts[step.callout] is not step.at:
            wrong.add("STATUS_FWP_INCOMPATIBLE_LAYER")  # W034
        if wrong:
            return Outcome(status=frozenset(wrong))  # which comes first nobody documents
        objects.filters[step.filter] = Filter(
            step.at, step.sublayer, step.act, step.callout, step.clear_right, step.permit_unregistered, step.port
        )
        self.used.add(step.filter)
        self._policy_changed(step.at)
        return Outcome()

    def _delete_filter(self, step: op.DeleteFilter) -> Outcome:
        if step.filter not in self.used:
            raise Unspecified("there never was one")
        found = self._objects.filters.pop(step.filter, None)
        if found is None:
            return _failed("STATUS_FWP_FILTER_NOT_FOUND")
        self._policy_changed(found.at)
        return Outcome()

    def _policy_changed(self, at: At) -> None:
        self.policy += at is At.CONNECT

    # ---- transactions ----

    def _begin(self, _: op.Begin) -> Outcome:
        if self.pending is not None:
            return _failed("STATUS_FWP_TXN_IN_PROGRESS")  # W059
        self.pending = copy.deepcopy(self.committed)
        return Outcome()

    def _commit(self, _: op.Commit) -> Outcome:
        return self._end(commit=True)

    def _abort(self, _: op.Abort) -> Outcome:
        return self._end(commit=False)

    def _end(self, *, commit: bool) -> Outcome:
        if self.pending is None:
            return _failed("STATUS_FWP_NO_TXN_IN_PROGRESS")  # W060
        if commit:
            self.committed = self.pending  # W062
            self.policy += 1
        self.pending = None
        self.dropped.clear()
        return Outcome()

    # ---- registrations ----

    def _register(self, step: op.Register) -> Outcome:
        if step.callout in self.registered:
            return _failed("STATUS_FWP_ALREADY_EXISTS")  # W002
        self.registered[step.callout] = Registered(step.deletes, step.conditional)
        return Outcome()

    def _unregister(self, step: op.Unregister) -> Outcome:
        if step.callout not in self.registered:
            return _failed("STATUS_FWP_CALLOUT_NOT_FOUND")  # W013
        if any(callout == step.callout for flow in self.flows.values() for _, callout in flow.contexts):
            return _failed("STATUS_DEVICE_BUSY")  # W012
        del self.registered[step.callout]
        return Outcome()

    def _behave(self, step: op.Behave) -> Outcome:
        self.behaviour[step.callout] = Behaviour(step.answer, step.clears, step.redirects)
        return Outcome()

    # ---- flow contexts ----

    def _associate(self, step: op.Associate) -> Outcome:
        flow, functions = self.flows.get(step.flow), self.registered.get(step.callout)
        if flow is None or functions is None or self.pending is not None:
            raise Unspecified("the page names the callout and its layer only")
        if not step.value or not functions.deletes or self.committed.callouts.get(step.callout) is not step.at:
            return _failed("STATUS_INVALID_PARAMETER")  # W185, W186
        if (step.at, step.callout) in flow.contexts:
            return _failed("STATUS_OBJECT_NAME_EXISTS")  # W187
        flow.contexts[step.at, step.callout] = step.value
        return Outcome()

    def _remove(self, step: op.Remove) -> Outcome:
        flow = self.flows.get(step.flow)
        if flow is None:
            raise Unspecified("no such flow")
        value = flow.contexts.pop((step.at, step.callout), None)
        if value is None:
            return _failed("STATUS_UNSUCCESSFUL")  # W194
        return Outcome(deleted=((step.at, step.callout, value),))  # W192

    def _close(self, step: op.Close) -> Outcome:
        flow = self.flows.pop(step.flow, None)
        return Outcome(deleted=_contexts_of(flow))  # W195

    # ---- datagrams ----

    def _send(self, step: op.Send) -> Outcome:
        flow = self.flows.get(step.flow)
        if flow is None:
            return self._first(step.flow, [])
        if flow.policy != self.policy:
            raise Unspecified("a reauthorization, which this specification leaves to others")  # W211
        calls: list[Call] = []
        verdict = self._decide(At.TRANSPORT, step.flow, flow, calls)
        unsure = frozenset({At.TRANSPORT}) if verdict.hard_block else frozenset()
        return Outcome(calls=tuple(calls), unsure=unsure, passed=verdict.permit, to=flow.to)

    def _send_as_proxy(self, step: op.SendAsProxy) -> Outcome:
        of = self.flows.get(step.of)
        if of is None or not of.records or step.flow in self.flows:
            raise Unspecified("there are no records to give it, or it is no new flow")
        return self._first(step.flow, copy.deepcopy(of.records))

    def _first(self, number: int, records: list[Record]) -> Outcome:
        redirections = self.redirections
        flow = Flow(records, 0, self.policy)
        calls: list[Call] = []
        unsure = set()
        try:
            for at in At:
                verdict = self._decide(at, number, flow, calls)
                if verdict.hard_block:
                    unsure.add(at)
                if at is At.ESTABLISHED:
                    self.flows[number] = flow  # authorized, W210
                if not verdict.permit:
                    return Outcome(calls=tuple(calls), unsure=frozenset(unsure), passed=False)
        except Unspecified:
            self.redirections = redirections
            self.flows.pop(number, None)
            raise
        return Outcome(calls=tuple(calls), unsure=frozenset(unsure), passed=True, to=flow.to)

    def _decide(self, at: At, number: int, flow: Flow, calls: list[Call]) -> Verdict:
        """Arbitration at one layer (W090 to W107)."""
        verdict = Verdict()
        for sublayer in sorted(self.committed.sublayers, reverse=True):
            if verdict.hard_block:
                if at is At.REDIRECT and any(each.redirects for each in self.behaviour.values()):
                    raise Unspecified("whether a lower sublayer still redirects")
                break
            for each in self._matching(at, sublayer, number):
                decided = self._ask(each, verdict, flow, calls)
                if decided:
                    break  # W091
        return verdict

    def _matching(self, at: At, sublayer: int, number: int) -> Iterable[Filter]:
        for slot in sorted(self.committed.filters, reverse=True):
            each = self.committed.filters[slot]
            if each.at is at and each.sublayer == sublayer and each.port in (0, 1 + number % 2):
                yield each

    def _ask(self, each: Filter, verdict: Verdict, flow: Flow, calls: list[Call]) -> bool:
        """Whether the filter decided its sublayer; what that means for the layer is put into the verdict."""
        if each.act is Act.PERMIT:
            return _permit(verdict, hard=each.clear_right)  # W094, W097
        if each.act is Act.BLOCK:
            return _block(verdict, hard=True)  # W095
        functions = self.registered.get(each.callout)
        if functions is None:
            return _unregistered(each, verdict)
        context = flow.contexts.get((each.at, each.callout), 0)
        if functions.conditional and not context:
            return False  # W114
        return self._call(each, verdict, flow, calls, context)

    def _call(self, each: Filter, verdict: Verdict, flow: Flow, calls: list[Call], context: int) -> bool:
        behaviour, right = self.behaviour[each.callout], verdict.right
        state = told = 0
        if each.at is At.REDIRECT:
            state, told = _redirect_state(flow.records, each.callout % op.REDIRECT_HANDLES)
        calls.append(Call(each.at, each.callout, right, context, state, told))
        if each.act is Act.INSPECTION:
            return False  # W104
        if each.at is At.REDIRECT and behaviour.redirects:
            self.redirections += 1
            flow.to = self.redirections
            flow.records.append(Record(each.callout % op.REDIRECT_HANDLES, self.redirections))
            return _permit(verdict, hard=True)  # acquiring took the right away (W129)
        return _answered(each, behaviour, verdict)


def _unregistered(each: Filter, verdict: Verdict) -> bool:
    if each.act is Act.INSPECTION:
        return False  # W008
    if not verdict.right:
        raise Unspecified("whether that vetoes")
    if not each.permit_unregistered:
        return _block(verdict, hard=True)  # W007
    if each.clear_right:
        raise Unspecified("whether that permit is hard")
    return _permit(verdict, hard=False)  # W009


def _answered(each: Filter, behaviour: Behaviour, verdict: Verdict) -> bool:
    if not verdict.right:
        if behaviour.answer is Answer.BLOCK:
            return _block(verdict, hard=True, veto=True)  # W100
        return True  # it leaves the action as it is (W101)
    if behaviour.answer is Answer.PERMIT:
        return _permit(verdict, hard=behaviour.clears)  # W096
    if behaviour.answer is Answer.BLOCK or each.act is Act.TERMINATING:
        return _block(verdict, hard=behaviour.clears)  # W096, W105
    return False  # W092, W106


def _permit(verdict: Verdict, *, hard: bool) -> bool:
    if verdict.right:
        verdict.permit, verdict.right = True, not hard
    return True


def _block(verdict: Verdict, *, hard: bool, veto: bool = False) -> bool:
    if verdict.right or veto:
        verdict.permit, verdict.right = False, not hard
        verdict.hard_block = hard
    return True


def _redirect_state(records: list[Record], handle: int) -> tuple[int, int]:
    """What a handle is told of a connection, and its own context (W123 to W127)."""
    own = [record.context for record in records if record.handle == handle]
    if not records:
        return 0, 0
    if not own:
        return 2, 0
    return (1 if records[-1].handle == handle else 3), own[-1]


def _contexts_of(flow: Flow | None) -> tuple[tuple[int, int, int], ...]:
    contexts = flow.contexts.items() if flow else ()
    return tuple(sorted((int(at), callout, value) for (at, callout), value in contexts))


def _failed(status: str) -> Outcome:
    return Outcome(status=frozenset({status}))
