"""The guest's Winsock: what it hands on to Wine's, and what it does where there is no filter engine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pefile
import pytest

ROOT = Path(__file__).parents[2]
WINSOCK = ROOT / "vm-images" / "reference" / "winsock"
WINE = Path("/usr/lib/x86_64-linux-gnu/wine")

pytestmark = [
    pytest.mark.wine,
    pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="mingw-w64 is not installed"),
    pytest.mark.skipif(not (WINE / "x86_64-windows" / "ws2_32.dll").is_file(), reason="no Wine of Debian here"),
]


@pytest.fixture(scope="module")
def library() -> Path:
    """The library, built."""
    subprocess.run(["make", "-C", str(WINSOCK)], check=True, capture_output=True)
    return WINSOCK / "build" / "ws2_32.dll"


def _exports(path: Path) -> dict[int, tuple[str, str]]:
    with pefile.PE(str(path)) as module:
        return {
            symbol.ordinal: (symbol.name.decode(), (symbol.forwarder or b"").decode())
            for symbol in module.DIRECTORY_ENTRY_EXPORT.symbols
        }


def test_every_export_of_wine_has_its_ordinal_and_goes_on_to_wine(library: Path) -> None:
    """A program that imports by ordinal finds what it means; what the library has no function for is a forwarder."""
    ours, wines = _exports(library), _exports(WINE / "x86_64-windows" / "ws2_32.dll")
    assert {number: name for number, (name, _) in ours.items()} == {number: name for number, (name, _) in wines.items()}
    own = {name for name, forwarder in ours.values() if not forwarder}
    assert {"bind", "listen", "connect", "WSAIoctl", "closesocket"} <= own
    for name, forwarder in ours.values():
        assert name in own or forwarder == f"ws2_wine.{name}"


def test_sockets_work_without_an_engine(library: Path, wine: Any, tmp_path: Path) -> None:
    """Bind, listen, connect, datagrams and their errors are Wine's where nobody answers at the engine's device."""
    program = tmp_path / "winsock_alone.exe"
    source = Path(__file__).parent / "winsock_alone.c"
    subprocess.run(["x86_64-w64-mingw32-gcc", "-Wall", "-Werror", "-o", program, source, "-lws2_32"], check=True)
    shutil.copy(library, tmp_path)
    for half, name in (("x86_64-windows", "ws2_32.dll"), ("x86_64-unix", "ws2_32.so")):
        (tmp_path / "behind" / half).mkdir(parents=True)
        (tmp_path / "behind" / half / name.replace("ws2_32", "ws2_wine")).symlink_to(WINE / half / name)
    done = subprocess.run(
        [wine.program, program],
        env=wine.environment
        | {"WINEDLLPATH": str(tmp_path / "behind"), "WINEDLLOVERRIDES": "mscoree,mshtml=;ws2_32=n"},
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"call {done.returncode} of winsock_alone.c did not do what it should"
