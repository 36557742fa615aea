"""Answers of a WinRM server that means harm: each ends in an error of ours, none takes much memory or time."""

from __future__ import annotations

import random

import pytest

from harness.errors import TransportError
from harness.guest.winrm_channel import Channel, NothingYet
from harness.guest.winrm_login import Memory
from tests.guest.conftest import Handler, Server

BOMB = b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a0 "ha">%s]><b>&a30;</b>""" % b"".join(
    b'<!ENTITY a%d "&a%d;&a%d;">' % (number + 1, number, number) for number in range(30)
)
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]><b><c>&x;</c></b>"""
RECEIVED = (
    b"<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'"
    b" xmlns:r='http://schemas.microsoft.com/wbem/wsman/1/windows/shell'>"
    b"<s:Header><a:RelatesTo xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing'>uuid:x</a:RelatesTo></s:Header>"
    b"<s:Body><r:ReceiveResponse><r:Stream Name='stdout' CommandId='c'>aGVsbG8=</r:Stream>"
    b"<r:CommandState CommandId='c' State='x/Done'><r:ExitCode>0</r:ExitCode></r:CommandState></r:ReceiveResponse>"
    b"</s:Body></s:Envelope>"
)


@pytest.fixture
def channel(server: Server) -> Channel:
    return Channel(
        port=server.port, user="Administrator", password="secret", ca=server.pem, operation_timeout=1,
        memory=Memory(server.pem),
    )  # fmt: skip


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch):
    def answer(body: bytes, status: int = 200) -> None:
        monkeypatch.setattr(Handler, "_answer", lambda self, root, action: self._reply(status, body))

    return answer


@pytest.mark.parametrize(
    "body", [BOMB, OUTSIDE, BOMB.decode().replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16"), BOMB.lower()]
)
def test_bombs_and_files_of_this_host_are_not_even_read(channel: Channel, answer_with, body: bytes) -> None:
    answer_with(body)

    with pytest.raises(TransportError, match="an answer with a document type"):
        channel.identify(seconds=30)


def test_an_answer_without_end_is_cut(channel: Channel, answer_with, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.guest.winrm_channel.MOST_ANSWERED", 1 << 20)
    answer_with(b"<a>" + b"x" * (1 << 20) + b"</a>")

    with pytest.raises(TransportError, match="an answer of more than 1048576 bytes"):
        channel.identify(seconds=30)


def test_a_deep_answer_is_survived(channel: Channel, answer_with) -> None:
    answer_with(b"<a>" * 100_000 + b"</a>" * 100_000)

    assert set(channel.identify(seconds=30)) == {"a"}


def test_no_damaged_answer_is_more_than_an_error(channel: Channel, answer_with) -> None:
    source = random.Random(11)
    ended = set()
    for number in range(60):
        body = bytearray(RECEIVED)
        for _ in range(number % 12):
            at = source.randrange(len(body))
            match source.randrange(3):
                case 0:
                    body[at] ^= 1 << source.randrange(8)
                case 1:
                    del body[at : at + source.randrange(1, 40)]
                case _:
                    body[at:at] = bytes(source.randrange(256) for _ in range(source.randrange(8)))
        answer_with(bytes(body), status=source.choice([200, 200, 200, 500]))
        try:
            channel.ask(lambda protocol: protocol.get_command_output_raw("shell", "c"), seconds=30)
            ended.add("read")
        except (TransportError, NothingYet) as refused:
            ended.add(type(refused).__name__)
    assert "ConnectionBroken" in ended
