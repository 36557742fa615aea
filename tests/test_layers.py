"""Dependencies inside `harness/` point one way, and each outside library has its one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "harness"

# From the top down; a package may import from its own row and from rows below it.
ROWS = [
    {"cli"},
    {"nightly", "plugin"},
    {"minimise"},
    {"doctor", "history", "cert"},
    {"report", "images"},
    {"expect", "reproduce"},
    {"trace", "witness", "traffic", "driver", "capture"},
    {"guest"},
    {"hypervisor", "link", "media", "unattend"},
    {"config", "oracle"},
    {"wfp"},
    {"steps", "process", "printable"},
    {"ownership"},
    {"waiting"},
    {"errors"},
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}

# Library: the packages of `harness/` that may import it.
HOMES = {
    "asn1crypto": {"driver"},
    "libvirt": {"hypervisor"},
    "libvirt_qemu": {"hypervisor"},
    "scapy": {"link", "traffic", "witness"},
    "paramiko": {"guest"},
    "winrm": {"guest"},
    "pefile": {"driver"},
    "subprocess": {"process"},
    "typer": {"cli"},
    "pycdlib": {"media"},
    "PIL": {"images"},
}


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(path for path in ROOT.rglob("*.py") if package_of(path) != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = package_of(path)
    assert own in RANK, f"'{own}' has no row: give it one in ROWS."
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "harness" and len(parts) > 1 and parts[1] in RANK and parts[1] != own:
            assert RANK[parts[1]] > RANK[own], f"{path} imports {name}, which stands beside or above it."


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_place(path: Path) -> None:
    own = package_of(path)
    for name in imports(path):
        library = name.split(".")[0]
        if library in HOMES:
            assert own in HOMES[library], f"{path} imports {library}, which belongs to {sorted(HOMES[library])}."


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_are_small_and_named(path: Path) -> None:
    assert path.stem not in {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
    lines = len(path.read_text().splitlines())
    assert lines <= 500, f"{path} has {lines} lines: it is more than one room."


def test_the_table_of_the_architecture_has_these_rows() -> None:
    text = (ROOT.parent / "ARCHITECTURE.md").read_text()
    table = text.partition("| package of `harness/` |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("| `")]
    assert [{word.strip(" `") for word in row.split(",")} for row in rows] == ROWS
