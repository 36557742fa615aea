"""The guest's Winsock: what it hands on to Wine's, and what it does where there is no filter engine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pefile
import pytest

from tests.building import build
from tests.wine import WINE_LIBRARIES

ROOT = Path(__file__).parents[2]
WINSOCK = ROOT / "vm-images" / "reference" / "winsock"
WINE = WINE_LIBRARIES.parent

pytestmark = [
    pytest.mark.wine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="mingw-w64 is not installed"),
    pytest.mark.skipif(not (WINE_LIBRARIES / "ws2_32.dll").is_file(), reason="no Wine of Debian here"),
]


@pytest.fixture(scope="module")
def library() -> Path:
    """The library, built."""
    build(WINSOCK)
    return WINSOCK / "build" / "ws2_32.dll"


def _exports(path: Path) -> dict[int, tuple[str, str]]:
    with pefile.PE(str(path)) as module:
        return {
            symbol.ordinal: (symbol.name.decode(), (symbol.forwarder or b"").decode())
            for symbol in module.DIRECTORY_ENTRY_EXPORT.symbols
        }


def test_every_export_of_wine_has_its_ordinal_and_goes_on_to_wine(library: Path) -> None:
    """A program that imports by ordinal finds what it means; what the library has no function for is a forwarder."""
    ours, wines = _exports(library), _exports(WINE_LIBRARIES / "ws2_32.dll")
    assert {number: name for number, (name, _) in ours.items()} == {number: name for number, (name, _) in wines.items()}
    own = {name for name, forwarder in ours.values() if not forwarder}
    assert {"bind", "listen", "connect", "WSAIoctl", "closesocket"} <= own
    for name, forwarder in ours.values():
        assert name in own or forwarder == f"ws2_wine.{name}"


def test_the_helper_library_has_what_wine_s_has_and_port_reservations(library: Path) -> None:
    """Every export of Wine's iphlpapi.dll goes on to it, and the six of port reservations are the guest's own."""
    ours = dict(_exports(library.with_name("iphlpapi.dll")).values())
    wines = {name for name, _ in _exports(WINE_LIBRARIES / "iphlpapi.dll").values()}
    own = {name for name, forwarder in ours.items() if not forwarder}
    verbs, protocols = ("Create", "Lookup", "Delete"), ("Tcp", "Udp")
    assert own == {f"{verb}Persistent{each}PortReservation" for verb in verbs for each in protocols}
    assert ours.keys() - own == wines
    assert all(forwarder == f"iphlp_wine.{name}" for name, forwarder in ours.items() if forwarder)


def test_sockets_work_without_an_engine(library: Path, wine: Any, tmp_path: Path) -> None:
    """Bind, listen, connect, datagrams and their errors are Wine's where nobody answers at the engine's device."""
    program = tmp_path / "winsock_alone.exe"
    source = Path(__file__).parent / "winsock_alone.c"
    subprocess.run(["x86_64-w64-mingw32-gcc", "-Wall", "-Werror", "-o", program, source, "-lws2_32"], check=True)
    shutil.copy(library, tmp_path)
    for half, name in (("x86_64-windows", "ws2_32.dll"), ("x86_64-unix", "ws2_32.so")):
        (tmp_path / "behind" / half).mkdir(parents=True)
        # Copies: Wine does not find a library by a second name of a file that another program of the session runs.
        shutil.copy(WINE / half / name, tmp_path / "behind" / half / name.replace("ws2_32", "ws2_wine"))
    own = {
        "WINEDLLPATH": str(tmp_path / "behind"),
        "WINEDLLOVERRIDES": "mscoree,mshtml=;ws2_32=n",
        "WINEDEBUG": "err+all",
    }
    with (tmp_path / "wine.txt").open("w+") as said:
        done = subprocess.run(
            [wine.program, program], env=wine.environment | own, stderr=said, timeout=100, check=False
        )
        said.seek(0)
        words = said.read()
    assert done.returncode == 0, f"call {done.returncode} of winsock_alone.c did not do what it should; Wine: {words}"
