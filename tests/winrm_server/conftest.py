"""The guest's WinRM endpoint on this host: real TLS, real NTLM, plain Linux programs in the place of Windows ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import winrm

from harness.images.secrets import make_secrets
from harness.waiting import Deadline, wait_for

SOURCE = Path(__file__).resolve().parents[2] / "vm-images" / "reference" / "winrm"


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint and what a client must know."""

    port: int
    certificate: Path
    user: str
    password: str
    log: Path

    def connect(self, *, password: str | None = None, user: str | None = None, seconds: int = 20) -> winrm.Protocol:
        """A pywinrm client with a connection of its own."""
        return winrm.Protocol(
            f"https://127.0.0.1:{self.port}/wsman",
            transport="ntlm",
            username=user or self.user,
            password=password or self.password,
            ca_trust_path=str(self.certificate),
            operation_timeout_sec=seconds,
            read_timeout_sec=seconds + 10,
        )


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The endpoint as a process of its own, as in the guest."""
    folder = tmp_path_factory.mktemp("winrm")
    secrets = make_secrets()
    secrets.write_for_host(folder / "host")
    secrets.write_for_guest(folder)
    config = folder / "config.json"
    own = folder / "etc" / "wfp-hil"
    config.write_text(
        json.dumps(
            {
                "address": "127.0.0.1",
                "port": 0,
                "certificate": str(own / "winrm.pem"),
                "users": str(own / "users"),
                "runner": "native",
            }
        )
    )
    ready, log = folder / "ready", folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wfp_winrm", "--config", config, "--ready", ready],
            cwd=SOURCE,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: ready.exists() or None, Deadline(20), "the endpoint to listen")
        login = json.loads((folder / "host" / "winrm.json").read_text())
        yield Endpoint(int(ready.read_text()), folder / "host" / "winrm.pem", login["user"], login["password"], log)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def client(endpoint: Endpoint) -> winrm.Protocol:
    """A client that may log in."""
    return endpoint.connect()


@pytest.fixture
def shell(client: winrm.Protocol) -> Iterator[str]:
    """A shell of `client`."""
    shell_id = client.open_shell()
    yield shell_id
    client.close_shell(shell_id)
