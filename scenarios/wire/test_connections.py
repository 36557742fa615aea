"""TCP through redirection, injection, stream edits and flow contexts, over bad wires: its bytes arrive all the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.driver.interface import StreamDirection
from harness.expect import expect
from harness.link import Impairment
from harness.link.headers import endpoint_text
from harness.waiting import Deadline

CASES = tomllib.loads((Path(__file__).parent / "connections.toml").read_text())["case"]
HOSTS = {4: ("198.51.100.5", "198.51.100.9"), 6: ("2001:db8:99::5", "2001:db8:99::9")}
QUESTION = b"".join(b"%05d what is the word?" % number for number in range(250))
ANSWER = b"".join(b"%05d the word is secret." % number for number in range(250))


def prepare(act, driver, meant, instead):
    """Have the callout do its work on what is meant for one host; gives back what the station then reads."""
    match act:
        case "redirect":
            driver.redirect("tcp", remote=meant, to=instead)
        case "reinject":
            driver.reinject("tcp", layer="OUTBOUND_TRANSPORT", remote=meant)
        case "stream":
            driver.stream_replace(b"word", b"password", remote=meant, direction=StreamDirection.OUT)
            return QUESTION.replace(b"word", b"password")
        case "flow":
            driver.flow_context("tcp", context_layer=f"STREAM_V{6 if meant.startswith('[') else 4}", remote=meant)
    return QUESTION


def expect_the_work(act, trace, instead):
    """The callout did its work, once where once is what it has to be."""
    match act:
        case "redirect":
            expect(trace).one(kind="redirect", status="STATUS_SUCCESS", redirected_to=instead)
        case "reinject":
            expect(trace).some(kind="inject", status="STATUS_SUCCESS")
            expect(trace).none(kind="inject", status=lambda status: status != "STATUS_SUCCESS")
        case "stream":
            expect(trace).some(kind="classify", action="block")
        case "flow":
            expect(trace).one(kind="flow-associate", status="STATUS_SUCCESS")
            expect(trace).one(kind="flow-delete")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_connection_survives_the_wire(driver, probe, stations, impair, witness, trace, fence, case):
    """What either end reads is what the callout makes of what the other end sent, and its work is done as often."""
    address, other = HOSTS[case.get("version", 4)]
    meant, instead = endpoint_text(address, 80), endpoint_text(other, 8000)
    wanted = prepare(case["act"], driver, meant, instead)
    port = (other, 8000) if case["act"] == "redirect" else (address, 80)
    server = stations.add(port[0]).tcp_listen(port[1])
    ways = {way: Impairment(**case[way]) for way in ("to_guest", "from_guest") if way in case}
    wire = impair.both(**ways)

    client = probe.tcp_connect(meant, seconds=30).require()
    connection = server.wait_for_connection(Deadline(30))
    for at in range(0, len(QUESTION), 1500):
        client.send(QUESTION[at : at + 1500])
    question = connection.receive(len(wanted), Deadline(60))
    connection.send(ANSWER)
    answer = client.receive(len(ANSWER), exact=True, seconds=60)
    client.close()
    connection.close()
    connection.wait_closed(Deadline(60))
    fence()

    expect(question).equals(wanted)
    expect(answer).equals(ANSWER)
    expect(len(server.connections)).equals(1)
    for name, count in case.get("did", {}).items():
        expect((name, wire.total(name))).equals((name, count))
    expect_the_work(case["act"], trace, instead)
    for way, name in (("to_guest", "to-guest"), ("from_guest", "from-guest")):
        mtu = case.get(way, {}).get("mtu")
        if mtu is not None:
            expect(witness).some(direction=name, lost=True, fate=lambda fate: "MTU" in fate)
            expect(witness).none(direction=name, lost=False, length=lambda length, mtu=mtu: length > mtu + 14)
