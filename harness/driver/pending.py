"""What the driver under test has put off, and how a scenario ends it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from harness.driver.device import Asks
from harness.driver.interface import Completion, split_endpoint
from harness.errors import DeadlineExpired, UsageError
from harness.guest import ProbeError, ProbeListener, ProbeUdp

_STATUS_IO_TIMEOUT = 0xC00000B5


def redirection_target(to: ProbeListener | ProbeUdp | str) -> dict[str, Any]:
    """The members of WFPCALLOUT_RULE and WFPCALLOUT_COMPLETE that say where a connect is redirected to.

    An unspecified address of a socket stands for the loopback address of its family.
    """
    if isinstance(to, str):
        address, port = split_endpoint(to)
        return {"new_addr": address, "new_port": port}
    address, port = split_endpoint(to.local)
    if ip_address(address).is_unspecified:
        address = "127.0.0.1" if ip_address(address).version == 4 else "::1"
    return {"new_addr": address, "new_port": port, "target_pid": to.pid}


@dataclass(frozen=True, slots=True)
class Pended:
    """One operation or classify that the driver has put off; `number` is the value of its events."""

    probe: Asks
    number: int

    def complete(
        self, *, permit: bool = True, redirect: ProbeListener | str | None = None, again: bool = False, context: int = 0
    ) -> None:
        """Complete it: permitted, blocked, or for a pended classify redirected or classified again.

        A permit injects the packet that was absorbed, if there was one. `context` is the redirect context.
        Raises ProbeError (STATUS_NOT_FOUND) when it was completed before, UsageError when two ends are asked for.
        """
        if (redirect is not None) + again + (not permit) > 1:
            raise UsageError(
                "A completion is a permit, a block, a redirection or a new classify, and not two of them.",
                hint="pended.complete(permit=False), or complete(redirect=proxy), or complete(again=True).",
            )
        action = Completion.PERMIT if permit else Completion.BLOCK
        fields: dict[str, Any] = {}
        if redirect is not None:
            action, fields = Completion.REDIRECT, redirection_target(redirect) | {"context": context}
        if again:
            action = Completion.AGAIN
        self.probe.request("drv_complete", number=self.number, action=int(action), **fields)


def wait_for_pended(probe: Asks, rule: int, seconds: float) -> Pended:
    """The oldest that a rule has put off, as soon as there is one.

    Raises DeadlineExpired when none comes in `seconds`.
    """
    try:
        reply = probe.request("drv_pended", seconds=seconds, rule=rule, timeout_ms=int(seconds * 1000))
    except ProbeError as refused:
        if refused.ntstatus is not None and refused.ntstatus & 0xFFFFFFFF == _STATUS_IO_TIMEOUT:
            raise DeadlineExpired(
                f"Rule {rule} put nothing off within {seconds:g} s.",
                hint="No traffic matched it, or the pend was refused: see the trace.",
            ) from refused
        raise
    return Pended(probe, int(reply["number"]))
