"""A small WS-Management server for tests: TLS, NTLM, Windows Remote Shell; its commands are programs of this host."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import select
import shlex
import ssl
import subprocess
import threading
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import spnego

from harness.images.secrets import make_secrets

SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TIMED_OUT = 2150858793
NO_SUCH_SHELL = 0x8033805B


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    secrets = make_secrets()
    pem, key_file = folder / "winrm.pem", folder / "winrm.key"
    pem.write_bytes(secrets.winrm_certificate)
    key_file.write_bytes(secrets.winrm_key)
    return pem, key_file


class Command:
    """One program, its output kept until it is asked for."""

    def __init__(self, line: str) -> None:
        self.process = subprocess.Popen(
            ["sh", "-c", line] if not line.startswith("!") else shlex.split(line[1:]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.changed = threading.Condition()
        self.output: list[tuple[str, bytes]] = []
        self.open_streams = 2
        streams = (("stdout", self.process.stdout), ("stderr", self.process.stderr))
        self.threads = [threading.Thread(target=self._pump, args=pair, daemon=True) for pair in streams]
        for thread in self.threads:
            thread.start()

    def _pump(self, name: str, stream: Any) -> None:
        while piece := os.read(stream.fileno(), 65536):
            with self.changed:
                self.output.append((name, piece))
                self.changed.notify_all()
        stream.close()
        with self.changed:
            self.open_streams -= 1
            self.changed.notify_all()

    def stop(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # a Receive that sees its end waits for it, too
                os.killpg(self.process.pid, 9)
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        for thread in self.threads:
            thread.join()


class Server(http.server.ThreadingHTTPServer):
    """The server; `commands` and `actions` say what it was asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path, *, operation_timeout: float) -> None:
        self.pem, key = make_certificate(folder)
        self.operation_timeout = operation_timeout
        self.shells: set[str] = set()
        self.commands: dict[str, Command] = {}
        self.actions: list[str] = []
        self.connections = 0
        self.resumed = 0  # connections that went on with the TLS session of an earlier one
        self.requests = 0  # on the newest connection
        self.drop_next: set[str] = set()  # actions whose connection is closed instead of answered, once
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for command in list(self.commands.values()):  # a connection that nobody waits for any more may begin one
            command.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection; NTLM authenticates the connection, not the request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.context: Any = None
        self.authenticated = False
        self.server.connections += 1
        self.server.requests = 0

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        self.server.requests += 1
        if self.server.requests == 1:
            self.server.resumed += self.connection.session_reused
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.authenticated and not self._authenticate():
            return
        root = ET.fromstring(body)
        action = next((n.text or "" for n in root.iter() if n.tag.endswith("}Action")), "Identify").rpartition("/")[2]
        self.server.actions.append(action)
        if action in self.server.drop_next:
            self.server.drop_next.discard(action)
            self.close_connection = True
            return
        self._answer(root, action)

    def _authenticate(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme in {"NTLM", "Negotiate"}:
            try:
                self.context = self.context or spnego.server(protocol="ntlm")
                out = self.context.step(base64.b64decode(token))
            except spnego.exceptions.SpnegoError:
                self.context = None
            else:
                self.authenticated = self.context.complete
                if not self.authenticated:
                    self._reply(401, b"", {"WWW-Authenticate": f"{scheme} {base64.b64encode(out or b'').decode()}"})
                return self.authenticated
        self._reply(401, b"", {"WWW-Authenticate": "Negotiate"})
        return False

    def _answer(self, root: ET.Element, action: str) -> None:  # noqa: PLR0911 - one for each operation
        def text(name: str) -> str:
            return next((n.text or "" for n in root.iter() if n.tag.endswith("}" + name)), "")

        shell = next((n.text or "" for n in root.iter() if n.get("Name") == "ShellId"), "")
        number = next((n.get("CommandId") or "" for n in root.iter() if n.get("CommandId")), "")
        server = self.server
        if action == "Identify":
            return self._soap(
                root, "<i:IdentifyResponse xmlns:i='x'><i:ProductVendor>Test</i:ProductVendor></i:IdentifyResponse>"
            )
        if action != "Create" and shell not in server.shells:
            return self._fault(root, NO_SUCH_SHELL, "The shell does not exist.")
        if action == "Create":
            shell = str(uuid.uuid4())
            server.shells.add(shell)
            return self._soap(root, f"<w:Selector xmlns:w='w' Name='ShellId'>{shell}</w:Selector>")
        if action == "Command":
            number = str(uuid.uuid4())
            server.commands[number] = Command(text("Command"))
            return self._soap(root, f"<r:CommandId xmlns:r='{SHELL}'>{number}</r:CommandId>")
        if action == "Delete":
            server.shells.discard(shell)
            return self._soap(root, "")
        command = server.commands.get(number)
        if command is None:
            return self._fault(root, NO_SUCH_SHELL, "The command does not exist.")
        if action == "Send":
            stdin = command.process.stdin
            assert stdin is not None
            stdin.write(base64.b64decode(text("Stream")))
            stdin.flush()
            if any(n.get("End") == "true" for n in root.iter()):
                stdin.close()
            return self._soap(root, "<x/>")
        if action == "Signal":
            command.stop()
            return self._soap(root, "<x/>")
        return self._receive(root, command, number)

    def _receive(self, root: ET.Element, command: Command, number: str) -> None:
        with command.changed:
            if not command.changed.wait_for(
                lambda: command.output or not command.open_streams, self.server.operation_timeout
            ):
                return self._fault(root, TIMED_OUT, "The operation timed out.")
            if select.select([self.connection], [], [], 0)[0]:  # the client went away: leave it for the next Receive
                self.close_connection = True
                return None
            taken, command.output = command.output, []
            is_done = not command.open_streams
        streams = "".join(
            f"<r:Stream Name='{name}' CommandId='{number}'>{base64.b64encode(piece).decode()}</r:Stream>"
            for name, piece in taken
        )
        state = f"<r:CommandState CommandId='{number}' State='{SHELL}/CommandState/Running'/>"
        if is_done:
            code = command.process.wait()
            state = (
                f"<r:CommandState CommandId='{number}' State='{SHELL}/CommandState/Done'>"
                f"<r:ExitCode>{code if code >= 0 else 1}</r:ExitCode></r:CommandState>"
            )
        return self._soap(root, f"<r:ReceiveResponse xmlns:r='{SHELL}'>{streams}{state}</r:ReceiveResponse>")

    def _soap(self, root: ET.Element, body: str, status: int = 200) -> None:
        message = next((n.text or "" for n in root.iter() if n.tag.endswith("}MessageID")), "")
        self._reply(
            status,
            (
                "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Header>"
                f"<a:RelatesTo xmlns:a='a'>{message}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
            ).encode(),
        )

    def _fault(self, root: ET.Element, code: int, reason: str) -> None:
        self._soap(
            root,
            "<s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code>"
            f"<s:Reason><s:Text>{reason}</s:Text></s:Reason><s:Detail>"
            f"<f:WSManFault xmlns:f='http://schemas.microsoft.com/wbem/wsman/1/wsmanfault' Code='{code}'/>"
            "</s:Detail></s:Fault>",
            500,
        )

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running server; Receive comes back empty after 0.3 s."""
    users = tmp_path / "users"
    users.write_text(":Administrator:secret\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    monkeypatch.setattr("harness.guest.winrm._GOODBYE_SECONDS", 30.0)  # this guest is there, on a host that may be busy
    server = Server(tmp_path, operation_timeout=0.3)
    yield server
    server.stop()


@pytest.fixture
def another_certificate(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    return make_certificate(folder)[0]


@pytest.fixture(scope="session")
def make_certificate_in():
    return make_certificate
