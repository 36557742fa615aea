"""What a second connection to the same guest is spared, and that it trusts no more than the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import AuthenticationFailed
from harness.guest.winrm_channel import Channel
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
