"""Contexts that a callout associates with flows."""

from __future__ import annotations

import pytest

from harness.driver.interface import RuleFlag
from harness.expect import expect
from harness.waiting import Deadline

STATION = "198.51.100.5"
WATCHED = f"{STATION}:80"
OTHER = f"{STATION}:81"


@pytest.fixture
def servers(stations):
    """Echo servers at the watched and at the other address."""
    station = stations.add(STATION)
    return station.tcp_listen(80, echo=True), station.tcp_listen(81, echo=True)


def talk(probe, address):
    """A connection over which one question and its answer went."""
    client = probe.tcp_connect(address)
    client.send(b"ping")
    client.receive(4, exact=True)
    return client


@pytest.mark.rule("W190", "W191", "W197", "W200")
def test_every_later_classify_of_the_flow_has_its_context_and_no_other(
    driver, probe, stations, witness, trace, fence, family
):
    """A context set at flow-established is given to every stream classify of that flow, and to no other flow."""
    watched, other = family.end(family.host, 80), family.end(family.host, 81)
    for port in (80, 81):
        stations.add(family.host).tcp_listen(port, echo=True)
    driver.flow_context("tcp", context_layer=family.layer("STREAM"), remote=watched)
    driver.inspect("tcp", layer=family.layer("STREAM"))

    talk(probe, watched)
    talk(probe, other)
    fence()

    expect(trace).one(kind="flow-associate", status="STATUS_SUCCESS")
    (associated,) = trace.select("flow-associate")
    classified = {"kind": "classify", "layer": family.layer("STREAM")}
    expect(trace).some(**classified, remote=watched, flow_context=associated.value)
    expect(trace).none(**classified, remote=watched, flow_context=lambda value: value != associated.value)
    expect(trace).some(**classified, remote=other, flow_context=0)
    expect(trace).none(**classified, remote=other, flow_context=lambda value: value != 0)
    expect(witness).some(dst=watched, payload=b"ping")


@pytest.mark.rule("W189", "W200")
def test_the_context_is_bound_to_its_layer(driver, probe, servers, trace, fence):
    """At another layer than the one it was associated for, the same flow is classified without the context."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED)
    driver.inspect("tcp", layer="OUTBOUND_TRANSPORT", remote=WATCHED)

    talk(probe, WATCHED)
    fence()

    expect(trace).one(kind="flow-associate", status="STATUS_SUCCESS")
    expect(trace).some(layer="OUTBOUND_TRANSPORT_V4", remote=WATCHED, flow_context=0)
    expect(trace).none(layer="OUTBOUND_TRANSPORT_V4", flow_context=lambda value: value != 0)


@pytest.mark.rule("W195", "W196")
@pytest.mark.parametrize("ending", ["close", "guest-reset", "peer-reset"])
def test_flow_delete_runs_once_for_each_flow(driver, probe, servers, witness, trace, fence, ending):
    """However five flows end, flowDeleteFn runs exactly once for each."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED)
    clients = [talk(probe, WATCHED) for _ in range(5)]

    for client, connection in zip(clients, servers[0].connections, strict=True):
        if ending == "close":
            client.close()
            connection.close()
        elif ending == "guest-reset":
            client.reset()
        else:
            connection.reset()
    for connection in servers[0].connections:
        connection.wait_closed(Deadline(10))
    fence()

    expect(trace).count(5, kind="flow-associate", status="STATUS_SUCCESS")
    contexts = [event.value for event in trace.select("flow-associate")]
    for context in contexts:
        expect(trace).one(kind="flow-delete", value=context)
    expect(driver.stats()["flow_contexts"]).equals(0)
    expect(witness).some(dst=WATCHED, flags={"FA"} if ending == "close" else {"A", "R", "RA"})


@pytest.mark.rule("W012", "W015", "W192")
def test_the_driver_unloads_with_live_flows(driver, service, probe, servers, stations, witness, trace, fence):
    """With five flows alive the driver removes their contexts and unloads; the connections go on."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED)
    clients = [talk(probe, WATCHED) for _ in range(5)]
    fence()
    probe.request("drv_close")

    service.stop()
    for client in clients:
        client.send(b"still here")
        client.receive(10, exact=True)
    service.start()

    expect(trace).count(5, kind="flow-associate", status="STATUS_SUCCESS")
    expect(driver.stats()["flow_contexts"]).equals(0)
    expect(witness).count(5, dst=WATCHED, payload=b"still here", retransmission=False)


@pytest.mark.rule("W187")
def test_a_second_associate_says_that_the_context_exists(driver, probe, servers, trace, fence):
    """A second associate on the same flow answers STATUS_OBJECT_NAME_EXISTS, and the driver does not fall for it."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED, flags=[RuleFlag.FLOW_ASSOCIATE_TWICE])
    driver.inspect("tcp", layer="STREAM", remote=WATCHED)

    client = talk(probe, WATCHED)
    fence()

    expect(trace).in_order(
        {"kind": "flow-associate", "status": "STATUS_SUCCESS"},
        {"kind": "flow-associate", "status": "STATUS_OBJECT_NAME_EXISTS"},
    )
    first = trace.select("flow-associate")[0]
    expect(trace).some(kind="classify", layer="STREAM_V4", flow_context=first.value)
    expect(trace).none(kind="classify", layer="STREAM_V4", flow_context=lambda value: value != first.value)
    expect(driver.stats()["flow_contexts"]).equals(1)
    expect(client).connected()


@pytest.mark.rule("W185")
@pytest.mark.misuse("W185")
def test_a_zero_context_is_refused(driver, probe, servers, trace, fence):
    """Context 0 is refused with STATUS_INVALID_PARAMETER, and the flow has none."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED, flags=[RuleFlag.FLOW_ZERO_CONTEXT])

    client = talk(probe, WATCHED)
    fence()

    expect(client).connected()
    expect(trace).one(kind="flow-associate", status="STATUS_INVALID_PARAMETER")
    expect(driver.stats()["flow_contexts"]).equals(0)


@pytest.mark.rule("W186", "W017")
@pytest.mark.misuse("W186")
def test_a_callout_without_flow_delete_function_is_refused(driver, probe, servers, trace, fence):
    """A context for a callout that has no flowDeleteFn is refused with STATUS_INVALID_PARAMETER."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED, flags=[RuleFlag.FLOW_NO_DELETE_FN])

    client = talk(probe, WATCHED)
    fence()

    expect(client).connected()
    expect(trace).one(kind="flow-associate", status="STATUS_INVALID_PARAMETER")
    expect(trace).none(kind="flow-delete")


@pytest.mark.rule("W012")
def test_a_callout_with_live_contexts_cannot_be_unregistered(driver, probe, servers, trace, fence):
    """Unregistering answers STATUS_DEVICE_BUSY while a flow has a context, and works after the flow has ended."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED)
    client = talk(probe, WATCHED)

    busy = driver.lab.unregister_busy("STREAM_V4")
    client.reset()
    servers[0].connections[0].wait_closed(Deadline(10))
    fence()
    free = driver.lab.unregister_busy("STREAM_V4")

    expect(busy.name).equals("STATUS_DEVICE_BUSY")
    expect(free.name).equals("STATUS_SUCCESS")
    expect(trace).one(kind="flow-delete")


@pytest.mark.rule("W192", "W194")
def test_removing_a_context_runs_flow_delete_at_once(driver, probe, servers, trace, fence):
    """FwpsFlowRemoveContext0 has called flowDeleteFn when it returns; a second one finds nothing."""
    driver.flow_context("tcp", context_layer="STREAM", remote=WATCHED)
    client = talk(probe, WATCHED)
    fence()
    (associated,) = trace.select("flow-associate")

    first = driver.lab.flow_remove_context(associated.flow_id, "STREAM_V4")
    second = driver.lab.flow_remove_context(associated.flow_id, "STREAM_V4")
    fence()

    expect(first.name).equals("STATUS_SUCCESS")
    expect(second.name).equals("STATUS_UNSUCCESSFUL")
    expect(trace).one(kind="flow-delete", value=associated.value)
    expect(trace).in_order({"kind": "flow-delete"}, {"kind": "lab", "status": "STATUS_SUCCESS"})
    expect(client).connected()


@pytest.mark.rule("W190", "W197", "W200")
def test_a_udp_flow_has_a_context_too(driver, probe, stations, witness, trace, fence):
    """A context set when a UDP flow is established is given to the datagrams of that flow."""
    stations.add(STATION).udp(53, echo=True)
    driver.flow_context("udp", context_layer="DATAGRAM_DATA", remote=f"{STATION}:53")
    driver.inspect("udp", layer="DATAGRAM_DATA", remote=f"{STATION}:53")

    socket = probe.udp_open()
    for _ in range(2):
        socket.send_to(f"{STATION}:53", b"ping")
        socket.receive_from()
    fence()

    expect(trace).one(kind="flow-associate", status="STATUS_SUCCESS")
    (associated,) = trace.select("flow-associate")
    expect(trace).some(layer="DATAGRAM_DATA_V4", flow_context=associated.value)
    expect(witness).count(2, dst=f"{STATION}:53", payload=b"ping")
