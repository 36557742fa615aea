"""Sockets that live in the guest, inside the probe, with the verbs of a scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.guest.probe import ProbeClient, ProbeError


@dataclass(frozen=True, slots=True)
class ProbeMessage:
    """A datagram, and what came with it: empty where there was no such control message."""

    data: bytes
    peer: str
    records: bytes  # IP_WFP_REDIRECT_RECORDS
    context: bytes  # IP_WFP_REDIRECT_CONTEXT


class _Handle:
    """What all sockets of the probe have."""

    def __init__(self, probe: ProbeClient, handle: int, *, local: str) -> None:
        self._probe = probe
        self.handle = handle
        self.local = local

    @property
    def pid(self) -> int:
        """Process id that owns the socket in the guest."""
        return self._probe.pid

    @property
    def port(self) -> int:
        """Local port."""
        return int(self.local.rpartition(":")[2])

    def acquire_ports(self, *, count: int) -> tuple[int, int]:
        """Reserve ports of the guest's choice for this process, as long as this socket lives: the first, the token."""
        reply = self._probe.request("acquire_ports", socket=self.handle, port=0, count=count)
        return int(reply["port"]), int(reply["token"])

    def state(self) -> dict[str, Any]:
        """What the probe knows of the socket now; waits for nothing."""
        return self._probe.request("state", socket=self.handle)

    def close(self) -> None:
        """Close it in good order."""
        self._probe.request("close", socket=self.handle)

    def __str__(self) -> str:
        return self.local


class ProbeSocket(_Handle):
    """A TCP connection of the guest, or the attempt at one: `error` is None or the name of what went wrong."""

    def __init__(
        self,
        probe: ProbeClient,
        handle: int,
        *,
        peer: str,
        local: str,
        failure: ProbeError | None = None,
        redirect: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(probe, handle, local=local)
        self.peer = peer
        self.redirect = redirect
        self._failure = failure

    @property
    def error(self) -> str | None:
        """Name of the error that the connect ended with, such as 'WSAECONNREFUSED'; None when it is connected."""
        return self._failure.name if self._failure is not None else None

    def _ask(self, op: str, *, seconds: float = 0.0, **args: object) -> dict[str, Any]:
        if self._failure is not None:
            raise self._failure
        return self._probe.request(op, seconds=seconds, socket=self.handle, **args)

    def require(self) -> ProbeSocket:
        """This socket, when it is connected; otherwise raises the ProbeError of the connect."""
        if self._failure is not None:
            raise self._failure
        return self

    def send(self, data: bytes) -> int:
        """Send all of `data`."""
        return int(self._ask("send", hex=data.hex())["sent"])

    def receive(self, count: int = 65536, *, exact: bool = False, seconds: float = 10.0) -> bytes:
        """Receive up to `count` bytes, or with `exact` just as many; empty at the end of the stream."""
        reply = self._ask(
            "recv",
            seconds=seconds,
            count=count,
            exact=exact or None,
            timeout_ms=int(seconds * 1000),
        )
        return bytes.fromhex(reply["hex"])

    def shutdown(self) -> None:
        """Send no more; the peer sees the end of the stream."""
        self._ask("shutdown")

    def reset(self) -> None:
        """Close it hard: the peer sees a reset."""
        self._ask("close", reset=True)

    def close(self) -> None:
        """Close it in good order; one that never connected is no error."""
        if self._failure is None:
            super().close()

    def redirect_context(self) -> bytes:
        """The redirect context that the driver left for this accepted connection.

        Raises ProbeError when there is none.
        """
        return bytes.fromhex(self._ask("redirect_context")["hex"])

    def redirect_records(self) -> bytes:
        """The redirect records of this accepted connection, to be set on the proxy's onward socket."""
        return bytes.fromhex(self._ask("redirect_records")["hex"])

    def set_redirect_records(self, records: bytes) -> None:
        """Say that this socket goes on for the connection that the records came from."""
        self._probe.request("set_redirect_records", socket=self.handle, hex=records.hex())


class ProbeListener(_Handle):
    """A TCP server socket of the guest."""

    def accept(self, *, seconds: float = 10.0) -> ProbeSocket:
        """The next connection that was made to it.

        Raises ProbeError when none comes in time.
        """
        reply = self._probe.request("accept", seconds=seconds, socket=self.handle, timeout_ms=int(seconds * 1000))
        return ProbeSocket(
            self._probe,
            reply["socket"],
            peer=reply.get("peer", ""),
            local=reply.get("local", ""),
            redirect=reply.get("redirect"),
        )

    @property
    def accepted(self) -> int:
        """How many connections were made to it so far."""
        return int(self.state().get("accepted", 0))


class ProbeUdp(_Handle):
    """A UDP socket of the guest."""

    def send_to(self, address: str, data: bytes) -> None:
        """Send one datagram."""
        self._probe.request("send_to", socket=self.handle, address=address, hex=data.hex())

    def receive_from(self, *, seconds: float = 10.0) -> tuple[bytes, str]:
        """The next datagram and who sent it.

        Raises ProbeError when none comes in time.
        """
        reply = self._probe.request("recv_from", seconds=seconds, socket=self.handle, timeout_ms=int(seconds * 1000))
        return bytes.fromhex(reply["hex"]), str(reply["peer"])

    def receive_message(self, *, seconds: float = 10.0) -> ProbeMessage:
        """The next datagram with the control messages of WSARecvMsg that redirection knows.

        Raises ProbeError when none comes in time.
        """
        reply = self._probe.request("recv_message", seconds=seconds, socket=self.handle, timeout_ms=int(seconds * 1000))
        return ProbeMessage(
            data=bytes.fromhex(reply["hex"]),
            peer=str(reply["peer"]),
            records=bytes.fromhex(reply.get("records", "")),
            context=bytes.fromhex(reply.get("context", "")),
        )

    def send_message(self, address: str, data: bytes, *, records: bytes) -> None:
        """Send one datagram with redirect records as a control message of WSASendMsg."""
        self._probe.request("send_message", socket=self.handle, address=address, hex=data.hex(), records=records.hex())
