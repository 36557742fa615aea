"""Tells the reference callout driver what to do with which traffic, and reads what it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from harness.driver.device import Asks
from harness.driver.interface import Action, FilterAction, InjectPath, RuleFlag, protocol_number, split_endpoint
from harness.driver.lab import Lab
from harness.driver.pending import Pended, redirection_target, wait_for_pended
from harness.driver.streams import StreamRules
from harness.errors import GuestError
from harness.guest import ProbeError, ProbeListener, ProbeUdp
from harness.wfp import layer_id, status_name, status_ok

_DRAIN_SECONDS = 10.0
_EVENTS_AT_ONCE = 256
ERROR_FILE_NOT_FOUND = 2  # the device does not exist: no driver that has the control interface is loaded


_NO_COUNTERS = ("id", "ok", "seq", "dropped", "next_seq")


class RuleRefused(GuestError):
    """The driver, or WFP behind it, did not take a rule; `ntstatus` is what it answered."""

    def __init__(self, message: str, *, ntstatus: int) -> None:
        super().__init__(message)
        self.ntstatus = ntstatus


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Events taken off the driver's ring, as the probe printed them; `dropped` counts since the driver was loaded.

    `more` says whether the ring may have held more than were taken.
    """

    dropped: int
    events: Sequence[Mapping[str, Any]]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The driver after its rules were taken away and its work was done."""

    events: EventBatch
    stats: dict[str, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that the driver has."""

    control: DriverControl
    id: int
    layer: str
    action: Action

    def remove(self) -> None:
        """Take it away; its filter is gone when this returns."""
        self.control.remove(self)

    def pended(self, *, seconds: float = 10.0) -> Pended:
        """The oldest operation that this rule has put off and nobody has completed, as soon as there is one.

        Raises DeadlineExpired when none comes in `seconds`.
        """
        return self.control.wait_for_pended(self, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The traffic that a rule is for; what is None or empty matches everything."""

    protocol: str = ""
    local: str | None = None
    remote: str | None = None
    family: int = 4

    def fields(self) -> dict[str, object]:
        """The members of WFPCALLOUT_RULE and WFPCALLOUT_LAB."""
        found: dict[str, object] = {"family": self.family, "protocol": protocol_number(self.protocol)}
        for side, text in (("local", self.local), ("remote", self.remote)):
            if text:
                address, port = split_endpoint(text)
                if address:
                    found[f"{side}_addr"] = address
                    found["family"] = ip_address(address).version
                found[f"{side}_port"] = port
        return found


class DriverControl(StreamRules):
    """The driver under test, as a scenario talks to it."""

    def __init__(self, probe: Asks) -> None:
        self._probe = probe
        self.lab = Lab(probe)

    # Rules, by what is done to the traffic they match.

    def redirect(
        self,
        protocol: str,
        *,
        remote: str | None = None,
        to: ProbeListener | ProbeUdp | str,
        context: int | None = None,
        **options: Any,
    ) -> Rule:
        """Redirect connects to a socket of the probe, or to any address.

        `context` becomes the eight bytes of redirect context that a proxy can ask for; without it they are the
        address and port that the connect was meant for, in network order.
        """
        if context is None:
            context = _context_of(remote)
        target = redirection_target(to)
        return self.add_rule(
            "ALE_CONNECT_REDIRECT", Action.REDIRECT, protocol, remote=remote, context=context, **target, **options
        )

    def redirect_bind(self, protocol: str, *, to: str, reservation: int | None = None, **options: Any) -> Rule:
        """Bind sockets to the address and port of `to` instead; of ':9000' and '127.0.0.1:0' only what it names.

        `local`, among the options, is what the program asks for. With `reservation`, the token of a port reservation,
        the port comes from its block. See FWPS_BIND_REQUEST0, fwpsk.h.
        """
        address, port = split_endpoint(to)
        if reservation is not None:
            options |= {"context": reservation, "flags": [*options.get("flags", ()), RuleFlag.PORT_RESERVATION]}
        return self.add_rule(
            "ALE_BIND_REDIRECT", Action.REDIRECT, protocol, new_addr=address or None, new_port=port, **options
        )

    def permit(self, protocol: str, *, layer: str = "ALE_AUTH_CONNECT", **options: Any) -> Rule:
        """Record and permit."""
        return self.add_rule(layer, Action.PERMIT, protocol, **options)

    def block(self, protocol: str, *, layer: str = "ALE_AUTH_CONNECT", **options: Any) -> Rule:
        """Record and block, so that no lighter sublayer can permit again."""
        return self.add_rule(layer, Action.BLOCK, protocol, **options)

    def inspect(self, protocol: str, *, layer: str, **options: Any) -> Rule:
        """Record, and let other filters decide."""
        options.setdefault("filter_action", FilterAction.INSPECTION)
        return self.add_rule(layer, Action.CONTINUE, protocol, **options)

    def absorb(self, protocol: str, *, layer: str, **options: Any) -> Rule:
        """Swallow without a trace on the wire."""
        return self.add_rule(layer, Action.ABSORB, protocol, **options)

    def reinject(self, protocol: str, *, layer: str, **options: Any) -> Rule:
        """Clone, swallow the original, inject the clone unchanged."""
        return self.add_rule(layer, Action.REINJECT, protocol, **options)

    def replace(self, protocol: str, *, layer: str, pattern: bytes, replacement: bytes, **options: Any) -> Rule:
        """Inject a copy in which `pattern` is replaced by `replacement`, which is as long."""
        return self.add_rule(
            layer, Action.REPLACE, protocol, pattern=pattern.hex(), replacement=replacement.hex(), **options
        )

    def rewrite(self, protocol: str, *, layer: str, to: str, **options: Any) -> Rule:
        """Inject a copy whose remote address and port are those of `to`, with right checksums."""
        address, port = split_endpoint(to)
        return self.add_rule(layer, Action.REWRITE, protocol, new_addr=address or None, new_port=port, **options)

    def flow_context(
        self, protocol: str, *, context_layer: str, layer: str = "ALE_FLOW_ESTABLISHED", **options: Any
    ) -> Rule:
        """Associate a context, numbered by the driver, with each flow that is established."""
        options["context_layer"] = layer_id(_with_family(context_layer, options.get("family", 4)))
        return self.add_rule(layer, Action.FLOW_CONTEXT, protocol, **options)

    def pend(
        self, protocol: str, *, layer: str = "ALE_AUTH_CONNECT", flags: Iterable[RuleFlag] = (), **options: Any
    ) -> Rule:
        """Put each operation off until it is completed: `rule.pended().complete(permit=True)`.

        At ALE_AUTH_CONNECT and ALE_AUTH_RECV_ACCEPT with FwpsPendOperation0; the packet, which Windows flushes, is
        cloned and injected after a permit. At ALE_CONNECT_REDIRECT with FwpsPendClassify0. What is still put off when
        the rule goes is permitted, and blocked when the driver goes.
        """
        action = Action.PEND_CLASSIFY if layer.startswith("ALE_CONNECT_REDIRECT") else Action.PEND
        return self.add_rule(layer, action, protocol, flags=flags, **options)

    def add_rule(
        self,
        layer: str,
        action: Action,
        protocol: str = "",
        *,
        local: str | None = None,
        remote: str | None = None,
        family: int | None = None,
        slot: int = 0,
        weight: int = 8,
        filter_action: FilterAction = FilterAction.TERMINATING,
        flags: Iterable[RuleFlag] = (),
        max_hits: int = 0,
        **fields: Any,
    ) -> Rule:
        """Add a rule; `fields` are further members of WFPCALLOUT_RULE by name.

        The layer may be named without _V4: it follows the addresses.
        Raises RuleRefused with the NTSTATUS when WFP did not take it.
        """
        match = Match(protocol=protocol, local=local, remote=remote, family=family or 4).fields()
        new_address = fields.get("new_addr")
        if family is None and not (local or remote) and isinstance(new_address, str):
            match["family"] = ip_address(new_address).version
        name = _with_family(layer, int(str(match["family"])))
        match["family"] = 6 if name.endswith("_V6") else 4
        reply = self._ask(
            "drv_add_rule",
            layer=layer_id(name),
            action=int(action),
            slot=slot,
            weight=weight,
            filter_action=int(filter_action),
            flags=sum(flags),
            max_hits=max_hits,
            **match,
            **fields,
        )
        status = int(reply.get("status", 0)) & 0xFFFFFFFF
        if not status_ok(status):
            raise RuleRefused(
                f"The driver did not take the rule '{action.name.lower()}' at {name}: {status_name(status)}.",
                ntstatus=status,
            )
        return Rule(self, int(reply["rule"]), name, action)

    def remove(self, rule: Rule) -> None:
        """Take a rule away."""
        self._probe.request("drv_remove_rule", rule=rule.id)

    def wait_for_pended(self, rule: Rule, *, seconds: float = 10.0) -> Pended:
        """What `rule.pended()` answers."""
        return wait_for_pended(self._probe, rule.id, seconds)

    def clear(self) -> None:
        """Take all rules away."""
        self._probe.request("drv_clear")

    # What the driver did.

    def read_events(self) -> EventBatch:
        """Take the oldest events off the driver's ring; an empty batch when there are none."""
        return _batch(self._probe.request("drv_events", max=_EVENTS_AT_ONCE))

    def drain(self, *, seconds: float = _DRAIN_SECONDS) -> int:
        """Wait until the driver has done its own work and no injection is pending; number of its marker event."""
        reply = self._probe.request("drv_drain", seconds=seconds, timeout_ms=int(seconds * 1000))
        return int(reply["seq"])

    def settle(self, *, seconds: float = _DRAIN_SECONDS) -> Settled | None:
        """Take all rules away, drain, read events and counters, in one round trip; None: the driver is not loaded."""
        try:
            reply = self._probe.request(
                "drv_settle", seconds=seconds, timeout_ms=int(seconds * 1000), max=_EVENTS_AT_ONCE
            )
        except ProbeError as error:
            if error.code == ERROR_FILE_NOT_FOUND:
                return None
            raise
        return Settled(events=_batch(reply), stats=_counters(reply))

    def stats(self) -> dict[str, int]:
        """The driver's counters, by the names of WFPCALLOUT_STATS."""
        return _counters(self._probe.request("drv_stats"))

    def version(self) -> int:
        """Version of the control interface that the driver speaks."""
        return int(self._probe.request("drv_version")["version"])

    def inject(
        self, path: InjectPath, data: bytes, *, local: str | None = None, remote: str | None = None, interface: int = 0
    ) -> int:
        """Have the driver inject an IP packet, a frame, or what follows an IP header; NTSTATUS of the call."""
        addresses = [address for address in (local, remote) if address]
        frame = path in (InjectPath.MAC_SEND, InjectPath.MAC_RECEIVE)
        reply = self._ask(
            "drv_inject",
            path=int(path),
            family=ip_address(addresses[0]).version if addresses else 4 if frame else data[0] >> 4,
            interface_index=interface,
            local_addr=local,
            remote_addr=remote,
            hex=data.hex(),
        )
        return int(reply.get("status", 0)) & 0xFFFFFFFF

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """One request to the driver; a failure that has an NTSTATUS comes back like an answer."""
        try:
            return self._probe.request(op, **fields)
        except ProbeError as refused:
            if refused.ntstatus is None:
                raise
            return {"status": int(refused.ntstatus)} | refused.reply


def _batch(reply: Mapping[str, Any]) -> EventBatch:
    events = tuple(reply.get("events", ()))
    return EventBatch(dropped=int(reply.get("dropped", 0)), events=events, more=len(events) >= _EVENTS_AT_ONCE)


def _counters(reply: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in reply.items() if name not in _NO_COUNTERS and isinstance(value, int)}


def _context_of(remote: str | None) -> int:
    """Address and port as bytes in network order, in the number whose bytes in memory they are."""
    address, port = split_endpoint(remote) if remote else ("", 0)
    if not address or ip_address(address).version != 4:
        return 0
    return int.from_bytes(ip_address(address).packed + port.to_bytes(2, "big") + bytes(2), "little")


def _with_family(layer: str, family: int) -> str:
    return layer if "_V4" in layer or "_V6" in layer or "MAC_FRAME" in layer else f"{layer}_V{family}"
