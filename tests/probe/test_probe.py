"""The probe's sockets, its protocol and its errors, under Wine and over loopback."""

from __future__ import annotations

import pytest

from harness.guest.probe import ProbeClient, ProbeError

pytestmark = [pytest.mark.wine, pytest.mark.timeout(600)]  # the first one starts Wine, and builds the probe


@pytest.fixture(autouse=True)
def empty(probe: ProbeClient) -> None:
    probe.close_all()


def test_it_says_hello_with_its_process_id(probe: ProbeClient) -> None:
    reply = probe.hello()
    assert reply["version"] == 1
    assert reply["pid"] == probe.pid


def test_a_conversation_over_tcp(probe: ProbeClient) -> None:
    listener = probe.tcp_listen("127.0.0.1:0")
    client = probe.tcp_connect(listener.local)
    server = listener.accept()
    assert server.peer == client.local
    assert listener.accepted == 1
    client.send(b"\x00\xffhello")
    assert server.receive(7, exact=True) == b"\x00\xffhello"
    server.send(b"answer")
    assert client.receive(6, exact=True) == b"answer"
    client.shutdown()
    assert server.receive(1) == b""
    assert server.state()["eof"] is True
    assert server.state()["bytes_in"] == 7
    assert client.state()["bytes_out"] == 7


def test_a_receive_that_waits_holds_nothing_up(probe: ProbeClient) -> None:
    listener = probe.tcp_listen("127.0.0.1:0")
    client = probe.tcp_connect(listener.local)
    server = listener.accept()
    waiting = probe.start("recv", seconds=60, socket=server.handle, count=10, exact=True, timeout_ms=60000)
    probe.hello()
    assert not waiting.is_done
    client.send(b"01234")
    client.send(b"56789")
    assert waiting.reply()["hex"] == b"0123456789".hex()


def test_a_reset_ends_the_peer(probe: ProbeClient) -> None:
    """Windows tells a reset. Wine's server shuts a socket down before it closes it, so a FIN goes ahead of the RST."""
    listener = probe.tcp_listen("127.0.0.1:0")
    client = probe.tcp_connect(listener.local)
    server = listener.accept()
    client.reset()
    try:
        assert server.receive(1) == b""
    except ProbeError as reset:
        assert reset.name == "WSAECONNRESET"  # noqa: PT017 - either end is right


def test_a_refused_connect_has_its_name(probe: ProbeClient) -> None:
    listener = probe.tcp_listen("127.0.0.1:0")
    local = listener.local
    listener.close()
    assert probe.tcp_connect(local).error == "WSAECONNREFUSED"


def test_nothing_to_receive_is_a_time_out(probe: ProbeClient) -> None:
    udp = probe.udp_open("127.0.0.1:0")
    with pytest.raises(ProbeError) as caught:
        udp.receive_from(seconds=0.01)
    assert caught.value.name == "WSAETIMEDOUT"


def test_datagrams_keep_their_borders(probe: ProbeClient) -> None:
    one, two = probe.udp_open("127.0.0.1:0"), probe.udp_open("127.0.0.1:0")
    one.send_to(two.local, b"first")
    one.send_to(two.local, b"second")
    assert two.receive_from() == (b"first", one.local)
    assert two.receive_from() == (b"second", one.local)


def test_ipv6_addresses_are_read_and_printed(probe: ProbeClient) -> None:
    listener = probe.tcp_listen("[::1]:0")
    client = probe.tcp_connect(listener.local)
    assert client.peer == listener.local
    assert listener.local.startswith("[::1]:")


def test_an_echo_listener_serves_many_at_once(probe: ProbeClient) -> None:
    listener = probe.tcp_listen("127.0.0.1:0", mode="echo", backlog=64)
    clients = probe.tcp_connect_all([listener.local] * 20)
    for number, client in enumerate(clients):
        client.send(f"client {number}".encode())
    for number, client in enumerate(clients):
        expected = f"client {number}".encode()
        assert client.receive(len(expected), exact=True) == expected
    assert listener.accepted == 20


def test_a_listener_that_closes_ends_the_accept_that_waits(probe: ProbeClient) -> None:
    listener = probe.tcp_listen("127.0.0.1:0")
    waiting = probe.start("accept", seconds=30, socket=listener.handle, timeout_ms=30000)
    listener.close()
    with pytest.raises(ProbeError, match=r"WSAENOTSOCK|UnknownSocket"):
        waiting.reply()


def test_a_proxy_without_a_redirected_connection_hangs_up(probe: ProbeClient) -> None:
    listener = probe.tcp_listen("127.0.0.1:0", mode="proxy")
    client = probe.tcp_connect(listener.local)
    assert client.receive(1) == b""


@pytest.mark.parametrize(
    ("op", "args", "error"),
    [
        ("dance", {}, "UnknownOperation"),
        ("recv", {"socket": 4711}, "UnknownSocket"),
        ("tcp_connect", {"address": "nowhere"}, "BadAddress"),
        ("tcp_connect", {"address": "127.0.0.1:70000"}, "BadAddress"),
        ("tcp_listen", {"address": "127.0.0.1:0", "mode": "magic"}, "BadMode"),
        ("drv_lab", {"op_code": 1, "key": "xyz"}, "BadHex"),
        ("service", {"action": "query", "name": "no such service"}, "ERROR_SERVICE_DOES_NOT_EXIST"),
        ("drv_stats", {}, "ERROR_FILE_NOT_FOUND"),
    ],
)
def test_a_bad_request_is_named(probe: ProbeClient, op: str, args: dict[str, object], error: str) -> None:
    with pytest.raises(ProbeError) as caught:
        probe.request(op, **args)
    assert caught.value.name == error


def test_a_line_that_is_no_json_does_not_end_it(probe: ProbeClient) -> None:
    assert probe._output is not None
    for line in ("{", "[]", '{"id":1,"op":{"nested":1}}', '{"id":1,"op":"\\ud', ""):
        probe._output.send(line + "\n")
    probe.hello()
