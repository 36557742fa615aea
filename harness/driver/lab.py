"""Single WFP calls that the driver makes on request, so that a scenario sees the documented status of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from harness.driver.device import Asks
from harness.driver.interface import CrashPlace, LabOp, protocol_number, split_endpoint
from harness.guest import ProbeError
from harness.wfp import action_value, layer_id, status_name, status_ok

# A callout's filter beside IPsec needs a sublayer that is lighter than the default one.
_OWN_SUBLAYER = UUID("5d9a6b11-2c1e-4f0b-9a31-7766702d6869")


@dataclass(frozen=True, slots=True)
class LabResult:
    """NTSTATUS of the call, unsigned, and the value that came with it."""

    status: int
    value: int

    @property
    def name(self) -> str:
        """Name of the status."""
        return status_name(self.status)

    @property
    def ok(self) -> bool:
        """NT_SUCCESS: also true of informational codes."""
        return status_ok(self.status)


class Lab:
    """The calls; none of them raises because WFP refused, the status says it."""

    def __init__(self, probe: Asks) -> None:
        self._probe = probe

    def callout_register(self, key: UUID) -> LabResult:
        """FwpsCalloutRegister; the value is the run-time id."""
        return self.call(LabOp.CALLOUT_REGISTER, key=key)

    def callout_unregister(self, key: UUID) -> LabResult:
        """FwpsCalloutUnregisterByKey0."""
        return self.call(LabOp.CALLOUT_UNREGISTER, key=key)

    def callout_add(self, key: UUID, layer: str) -> LabResult:
        """FwpmCalloutAdd0; the value is the id."""
        return self.call(LabOp.CALLOUT_ADD, key=key, layer=layer)

    def callout_delete(self, key: UUID) -> LabResult:
        """FwpmCalloutDeleteByKey0."""
        return self.call(LabOp.CALLOUT_DELETE, key=key)

    def sublayer_add(self, key: UUID, weight: int) -> LabResult:
        """FwpmSubLayerAdd0."""
        return self.call(LabOp.SUBLAYER_ADD, key=key, weight=weight)

    def sublayer_delete(self, key: UUID) -> LabResult:
        """FwpmSubLayerDeleteByKey0."""
        return self.call(LabOp.SUBLAYER_DELETE, key=key)

    def filter_add(
        self,
        layer: str,
        action: str,
        *,
        callout: UUID | None = None,
        sublayer: UUID | None = None,
        weight: int = 8,
        flags: int = 0,
        protocol: str = "",
        local: str | None = None,
        remote: str | None = None,
    ) -> LabResult:
        """FwpmFilterAdd0 with FWP_ACTION_<action>; the value is the filter id.

        Without a sublayer a filter of a callout is in the driver's heavier one, any other in the default one.
        """
        fields: dict[str, Any] = {"protocol": protocol_number(protocol)}
        for side, text in (("local", local), ("remote", remote)):
            if text:
                address, port = split_endpoint(text)
                fields |= {f"{side}_addr": address or None, f"{side}_port": port}
        return self.call(
            LabOp.FILTER_ADD,
            key=callout,
            key2=sublayer or (_OWN_SUBLAYER if callout else None),
            layer=layer,
            action=action_value(action),
            weight=weight,
            flags=flags,
            **fields,
        )

    def filter_delete(self, filter_id: int) -> LabResult:
        """FwpmFilterDeleteById0."""
        return self.call(LabOp.FILTER_DELETE, value=filter_id)

    def transaction_begin(self) -> LabResult:
        """FwpmTransactionBegin0."""
        return self.call(LabOp.TXN_BEGIN)

    def transaction_commit(self) -> LabResult:
        """FwpmTransactionCommit0."""
        return self.call(LabOp.TXN_COMMIT)

    def transaction_abort(self) -> LabResult:
        """FwpmTransactionAbort0."""
        return self.call(LabOp.TXN_ABORT)

    def injection_create(self, kind: int, *, family: int = 4) -> LabResult:
        """FwpsInjectionHandleCreate0; `kind` is FWPS_INJECTION_TYPE_*, the value is the handle's number."""
        return self.call(LabOp.INJECTION_CREATE, action=kind, family=family)

    def injection_destroy(self, handle: int) -> LabResult:
        """FwpsInjectionHandleDestroy0."""
        return self.call(LabOp.INJECTION_DESTROY, value=handle)

    def recreate_injection(self) -> LabResult:
        """Destroy and create the driver's own injection handles, which waits for pending injections."""
        return self.call(LabOp.RECREATE_INJECTION)

    def flow_remove_context(self, flow_id: int, layer: str, *, slot: int = 0) -> LabResult:
        """FwpsFlowRemoveContext0."""
        return self.call(LabOp.FLOW_REMOVE_CONTEXT, value=flow_id, layer=layer, weight=slot)

    def flow_abort(self, flow_id: int) -> LabResult:
        """FwpsFlowAbort0."""
        return self.call(LabOp.FLOW_ABORT, value=flow_id)

    def unregister_busy(self, layer: str, *, slot: int = 0) -> LabResult:
        """FwpsCalloutUnregisterById0 on a callout of the driver itself, once; registered anew when it worked."""
        return self.call(LabOp.UNREGISTER_BUSY, layer=layer, weight=slot)

    def crash(self, place: CrashPlace) -> LabResult:
        """Have the driver crash, at once or when it next comes to the place."""
        return self.call(LabOp.CRASH, action=int(place))

    def send(self, op: LabOp) -> None:
        """Ask for a call without waiting for its answer: it may cut the way that the answer would take."""
        self._probe.start("drv_lab", op_code=int(op))

    def hang(self, place: CrashPlace) -> LabResult:
        """Have the driver never come back from the place: in a loop in classifyFn and under a lock, else in a wait."""
        return self.call(LabOp.HANG, action=int(place))

    def call(
        self,
        op: LabOp,
        *,
        key: UUID | None = None,
        key2: UUID | None = None,
        layer: str | None = None,
        **fields: Any,
    ) -> LabResult:
        """Any call by its number; `fields` are further members of WFPCALLOUT_LAB."""
        fields.setdefault("family", 6 if layer and layer.endswith("_V6") else 4)
        try:
            reply: dict[str, Any] = self._probe.request(
                "drv_lab",
                op_code=int(op),
                key=key.bytes_le.hex() if key else None,
                key2=key2.bytes_le.hex() if key2 else None,
                layer=layer_id(layer) if layer else None,
                **fields,
            )
        except ProbeError as refused:
            if refused.ntstatus is None:
                raise
            reply = {"status": int(refused.ntstatus)} | refused.reply
        return LabResult(int(reply.get("status", 0)) & 0xFFFFFFFF, int(reply.get("value", 0)))
