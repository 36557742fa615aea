"""What a sequence may consist of. Everything has a small number; a driver of sequences gives it keys, ids and ports.

Filters have as many slots as there are weights, and a slot's number is its filter's weight: no two filters are of equal
weight, whose order nobody documents (W049). Sublayers likewise.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from enum import IntEnum

SUBLAYERS, CALLOUTS, FILTERS, FLOWS = 3, 4, 8, 4
REDIRECT_HANDLES = 2  # callout n redirects with handle n % 2


class At(IntEnum):
    """The layers that take part, in the order in which the first datagram of a flow comes to them."""

    REDIRECT = 0  # ALE_CONNECT_REDIRECT_V4
    CONNECT = 1  # ALE_AUTH_CONNECT_V4
    ESTABLISHED = 2  # ALE_FLOW_ESTABLISHED_V4
    TRANSPORT = 3  # OUTBOUND_TRANSPORT_V4, where every datagram comes

    @property
    def layer(self) -> str:
        """Its name."""
        return ("ALE_CONNECT_REDIRECT_V4", "ALE_AUTH_CONNECT_V4", "ALE_FLOW_ESTABLISHED_V4", "OUTBOUND_TRANSPORT_V4")[
            self
        ]


class Act(IntEnum):
    """A filter's action."""

    PERMIT = 0
    BLOCK = 1
    TERMINATING = 2
    INSPECTION = 3
    UNKNOWN = 4

    @property
    def calls(self) -> bool:
        """Whether it names a callout."""
        return self >= Act.TERMINATING


class Answer(IntEnum):
    """What a callout sets actionType to where it has the right; without the right it only ever vetoes, with BLOCK."""

    PERMIT = 0
    BLOCK = 1
    CONTINUE = 2
    NONE = 3


@dataclass(frozen=True, slots=True)
class Operation:
    """One step."""

    def words(self) -> str:
        """The step as a line: its name and its numbers."""
        return " ".join([type(self).__name__, *(str(int(value)) for value in astuple(self))])


@dataclass(frozen=True, slots=True)
class AddSublayer(Operation):
    """FwpmSubLayerAdd."""

    sublayer: int


@dataclass(frozen=True, slots=True)
class DeleteSublayer(Operation):
    """FwpmSubLayerDeleteByKey."""

    sublayer: int


@dataclass(frozen=True, slots=True)
class AddCallout(Operation):
    """FwpmCalloutAdd."""

    callout: int
    at: At


@dataclass(frozen=True, slots=True)
class DeleteCallout(Operation):
    """FwpmCalloutDeleteByKey."""

    callout: int


@dataclass(frozen=True, slots=True)
class Register(Operation):
    """FwpsCalloutRegister, with or without flowDeleteFn, conditional on a flow context or not."""

    callout: int
    deletes: bool
    conditional: bool


@dataclass(frozen=True, slots=True)
class Unregister(Operation):
    """FwpsCalloutUnregisterByKey."""

    callout: int


@dataclass(frozen=True, slots=True)
class Behave(Operation):
    """From now on the callout answers so, clears the right or not, and redirects where it is asked at REDIRECT."""

    callout: int
    answer: Answer
    clears: bool
    redirects: bool


@dataclass(frozen=True, slots=True)
class AddFilter(Operation):
    """FwpmFilterAdd, with a condition on the remote port of even (1) or odd (2) flows or without (0)."""

    filter: int
    at: At
    sublayer: int
    act: Act
    callout: int
    clear_right: bool
    permit_unregistered: bool
    port: int


@dataclass(frozen=True, slots=True)
class DeleteFilter(Operation):
    """FwpmFilterDeleteById."""

    filter: int


@dataclass(frozen=True, slots=True)
class Begin(Operation):
    """FwpmTransactionBegin."""


@dataclass(frozen=True, slots=True)
class Commit(Operation):
    """FwpmTransactionCommit."""


@dataclass(frozen=True, slots=True)
class Abort(Operation):
    """FwpmTransactionAbort."""


@dataclass(frozen=True, slots=True)
class Send(Operation):
    """A datagram of the flow: its first goes through all layers, any later one through TRANSPORT."""

    flow: int


@dataclass(frozen=True, slots=True)
class SendAsProxy(Operation):
    """The first datagram of a flow, from a socket that was given the redirect records of another flow."""

    flow: int
    of: int


@dataclass(frozen=True, slots=True)
class Close(Operation):
    """The flow's socket is closed; what the flow sends next comes from a new one."""

    flow: int


@dataclass(frozen=True, slots=True)
class Associate(Operation):
    """FwpsFlowAssociateContext; the context is the value."""

    flow: int
    at: At
    callout: int
    value: int


@dataclass(frozen=True, slots=True)
class Remove(Operation):
    """FwpsFlowRemoveContext."""

    flow: int
    at: At
    callout: int
