"""The guest's WinRM endpoint on this host: real TLS, real NTLM, in front of this host's programs or of Wine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import winrm

from harness.images.secrets import make_secrets
from harness.waiting import Deadline, wait_for
from tests.building import build
from tests.wine import WINE_LIBRARIES

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


@contextmanager
def serve(folder: Path, **settings: str) -> Iterator[Endpoint]:
    """The endpoint as a process of its own, as in the guest."""
    secrets = make_secrets()
    secrets.write_for_host(folder / "host")
    secrets.write_for_guest(folder)
    config = folder / "config.json"
    own = folder / "etc" / "wfp-hil"
    facts = {"address": "127.0.0.1", "port": 0, "certificate": str(own / "winrm.pem"), "users": str(own / "users")}
    config.write_text(json.dumps({**facts, **settings}))
    ready, log = folder / "ready", folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wfp_winrm", "--config", config, "--ready", ready],
            cwd=SOURCE,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: ready.exists() or None, Deadline(60), "the endpoint to listen")
        login = json.loads((folder / "host" / "winrm.json").read_text())
        yield Endpoint(int(ready.read_text()), folder / "host" / "winrm.pem", login["user"], login["password"], log)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The endpoint with programs of this host in the place of Windows ones."""
    with serve(tmp_path_factory.mktemp("winrm"), runner="native") as served:
        yield served


@pytest.fixture(scope="module")
def windows_endpoint(tmp_path_factory: pytest.TempPathFactory, wine: Any) -> Iterator[Endpoint]:
    """The endpoint in front of Wine on this host."""
    if shutil.which("x86_64-w64-mingw32-gcc") is None:
        pytest.skip("no mingw-w64 here")
    build(SOURCE)
    prefix = Path(wine.environment["WINEPREFIX"])
    for program in (SOURCE / "build" / "winrshost.exe", WINE_LIBRARIES / "cmd.exe", WINE_LIBRARIES / "chcp.com"):
        shutil.copy(program, prefix / "drive_c" / "windows" / "system32")
    folder = tmp_path_factory.mktemp("winrm")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in wine.environment.items():
            patch.setenv(name, value)
        patch.setenv("LC_ALL", "C.UTF-8")  # as in the guest
        with serve(folder, runner="wine", wine=wine.program, prefix=str(prefix)) as served:
            yield served


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
