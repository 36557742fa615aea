"""What a second connection to the same guest is spared, and that it trusts no more than the first."""

from __future__ import annotations

import errno
import gc
import socket
import ssl
import struct
from pathlib import Path

import pytest

from harness.errors import AuthenticationFailed
from harness.guest.winrm_channel import Channel, ConnectionBroken
from harness.guest.winrm_login import Memory
from tests.guest.conftest import Server


def connect(server: Server, memory: Memory, *, password: str = "secret") -> Channel:
    return Channel(
        port=server.port, user="Administrator", password=password, ca=server.pem, operation_timeout=1, memory=memory
    )


def test_a_second_connection_resumes_tls_and_begins_with_ntlm(server: Server) -> None:
    memory = Memory(server.pem)

    connect(server, memory).identify(seconds=30)
    first = server.requests
    connect(server, memory).identify(seconds=30)

    assert (server.connections, server.resumed) == (2, 1)
    assert (first, server.requests) == (3, 2)


def test_a_connection_that_is_logged_in_stays_so(server: Server) -> None:
    channel = connect(server, Memory(server.pem))

    for _ in range(3):
        assert channel.identify(seconds=30)["ProductVendor"] == "Test"

    assert (server.connections, server.requests) == (1, 5)


def test_a_wrong_password_is_refused_on_a_second_connection_too(server: Server) -> None:
    memory = Memory(server.pem)
    connect(server, memory).identify(seconds=30)

    with pytest.raises(AuthenticationFailed, match="refused the password"):
        connect(server, memory, password="wrong").identify(seconds=30)


def test_what_was_learned_from_one_server_does_not_make_another_trusted(server: Server, tmp_path: Path) -> None:
    memory = Memory(server.pem)
    connect(server, memory).identify(seconds=30)
    (tmp_path / "other").mkdir()
    other = Server(tmp_path / "other", operation_timeout=0.3)

    try:
        with pytest.raises(AuthenticationFailed, match="not the one that was pinned"):
            connect(other, memory).identify(seconds=30)
    finally:
        other.stop()


def test_a_connection_that_is_reset_before_tls_begins_leaves_no_socket(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def is_reset(_: Memory) -> None:
            ours, _ = listener.accept()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ours.close()

        monkeypatch.setattr(Memory, "session", property(is_reset))
        channel = Channel(port=listener.getsockname()[1], user="u", password="p", ca=server.pem, operation_timeout=1)
        with pytest.raises(ConnectionBroken, match="not connected"):
            channel.identify(seconds=30)
        channel.close()
    gc.collect()  # an unclosed socket is told where it is thrown away, which pytest takes for an error


def test_a_connection_that_nothing_can_be_learned_from_leaves_no_socket(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_gone(_memory: Memory, _connection: ssl.SSLSocket) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Memory, "learn", is_gone)
    channel = connect(server, Memory(server.pem))
    with pytest.raises(ConnectionBroken, match="not connected"):
        channel.identify(seconds=30)
    channel.close()
    gc.collect()
