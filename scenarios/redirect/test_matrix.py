"""The redirect matrix: where connects and datagrams of every kind may be sent instead, all targets side by side."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from harness.driver.interface import split_endpoint
from harness.expect import expect
from harness.link.headers import endpoint_text
from harness.waiting import Deadline

MATRIX = tomllib.loads((Path(__file__).parent / "matrix.toml").read_text())
FAMILIES = pytest.mark.parametrize("family", MATRIX["family"], ids=lambda family: family["id"])
FLOWS = pytest.mark.parametrize("flow", MATRIX["flows"])
SECONDS = 20.0


@dataclass(frozen=True)
class Case:
    """One target for one kind of flow: addresses as the wire has them, `called` as the guest's program writes it."""

    id: str
    meant: str
    called: str
    to: str
    local: bool


def cases(family: dict[str, Any]) -> list[Case]:
    """One case a target."""
    made = []
    for number, target in enumerate(MATRIX["target"]):
        meant_address = str(ip_address(family["meant"]) + number)
        meant_port = MATRIX["meant_port"] + number
        address = target["address"][str(ip_address(meant_address).version)] if "address" in target else meant_address
        port = MATRIX["other_port"] + number if target.get("other_port") else meant_port
        made.append(
            Case(
                id=target["id"],
                meant=endpoint_text(meant_address, meant_port),
                called=endpoint_text(family["written"].format(meant_address), meant_port),
                to=endpoint_text(address, port),
                local=target.get("local", False),
            )
        )
    return made


def meanings(matrix: list[Case]) -> list[tuple[Case, tuple[str, int]]]:
    """The cases, each with the address and the port that its client means."""
    return [(case, split_endpoint(case.meant)) for case in matrix]


def wrong(seen: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The cases that did not end as they should, in words."""
    return [
        f"{name}: wanted {wanted[name]!r}, saw {seen.get(name)!r}" for name in wanted if seen.get(name) != wanted[name]
    ]


@pytest.mark.rule("W117", "W120", "W121", "W130", "W135", "W142")
@FLOWS
@FAMILIES
def test_tcp_connects_go_to_every_kind_of_target(driver, probe, stations, witness, trace, fence, family, flow):
    """A TCP connect arrives at the target of the rule that was there before it, and nowhere else."""
    matrix = cases(family)
    meant = {case.id: stations.add(address).tcp_listen(port) for case, (address, port) in meanings(matrix)}
    clients = {}
    if flow == "existing":
        clients = dict(
            zip(meant, probe.tcp_connect_all([case.called for case in matrix], seconds=SECONDS), strict=True)
        )
    targets = {}
    for case in matrix:
        address, port = split_endpoint(case.to)
        targets[case.id] = probe.tcp_listen(case.to) if case.local else stations.add(address).tcp_listen(port)
        driver.redirect("tcp", remote=case.meant, to=targets[case.id] if case.local else case.to)

    if flow == "new":
        clients = dict(
            zip(meant, probe.tcp_connect_all([case.called for case in matrix], seconds=SECONDS), strict=True)
        )
    for case in matrix:
        clients[case.id].send(case.id.encode())
    arrived, answered = {}, {}
    for case in matrix:
        served = targets[case.id] if flow == "new" else meant[case.id]
        if case.local and flow == "new":
            connection = served.accept(seconds=SECONDS)
            arrived[case.id] = connection.receive(len(case.id), exact=True).decode()
            connection.send(b"answer")
        else:
            connection = served.wait_for_connection(Deadline(SECONDS))
            arrived[case.id] = connection.receive(len(case.id), Deadline(SECONDS)).decode()
            connection.send(b"answer")
        answered[case.id] = clients[case.id].receive(6, exact=True)
    fence()

    expect(wrong(arrived, {case.id: case.id for case in matrix})).equals([])
    expect(wrong(answered, dict.fromkeys(meant, b"answer"))).equals([])
    expect(
        wrong({case.id: clients[case.id].peer for case in matrix}, {case.id: case.called for case in matrix})
    ).equals([])
    for case in matrix:
        if flow == "existing":
            heard = targets[case.id].accepted if case.local else len(targets[case.id].connections)
            expect((case.id, heard)).equals((case.id, 0))
        else:
            expect((case.id, len(meant[case.id].connections))).equals((case.id, 0))
            expect(witness).none(dst=case.meant, flags="S")
            expect(trace).one(kind="redirect", redirected_to=case.to, status="STATUS_SUCCESS")
    if flow == "existing":
        expect(trace).none(kind="redirect")


@pytest.mark.rule("W117", "W120", "W121", "W130", "W135")
@pytest.mark.parametrize("transport", [name for name in MATRIX["transports"] if name != "tcp"])
@FLOWS
@FAMILIES
def test_datagrams_go_to_every_kind_of_target(driver, probe, stations, witness, trace, fence, family, flow, transport):
    """Datagrams arrive at the target of the rule that was there before their flow, and nowhere else."""
    matrix = cases(family)
    meant = {case.id: stations.add(address).udp(port) for case, (address, port) in meanings(matrix)}
    clients = {}
    one = None if transport == "udp-connected" else probe.udp_open(endpoint_text(family["any"], 0), dual=True)

    def send(case: Case, payload: bytes) -> None:
        if case.id not in clients:
            clients[case.id] = one or probe.udp_open(endpoint_text(family["any"], 0), connect=case.called, dual=True)
        clients[case.id].send_to(case.called, payload)

    for case in matrix if flow == "existing" else ():
        send(case, b"before")
        expect(meant[case.id].receive(Deadline(SECONDS)).payload).equals(b"before")
    targets = {}
    for case in matrix:
        address, port = split_endpoint(case.to)
        targets[case.id] = probe.udp_open(case.to) if case.local else stations.add(address).udp(port)
        driver.redirect("udp", remote=case.meant, to=targets[case.id] if case.local else case.to)

    arrived, answered = {}, {}
    for case in matrix:
        send(case, case.id.encode())
        served = targets[case.id] if flow == "new" else meant[case.id]
        if case.local and flow == "new":
            payload, sender = served.receive_from(seconds=SECONDS)
            served.send_to(sender, b"answer")
        else:
            datagram = served.receive(Deadline(SECONDS))
            payload = datagram.payload
            served.send_to(datagram.source, datagram.source_port, b"answer")
        arrived[case.id] = payload.decode()
        answered[case.id] = clients[case.id].receive_from(seconds=SECONDS)
    fence()

    expect(wrong(arrived, {case.id: case.id for case in matrix})).equals([])
    expect(wrong(answered, {case.id: (b"answer", case.called) for case in matrix})).equals([])
    for case in matrix:
        if flow == "existing":
            expect(len(meant[case.id].received)).equals(2)
        else:
            expect((case.id, len(meant[case.id].received))).equals((case.id, 0))
            expect(witness).none(dst=case.meant)
            expect(trace).one(kind="redirect", redirected_to=case.to, status="STATUS_SUCCESS")
    if flow == "existing":
        expect(trace).none(kind="redirect")
