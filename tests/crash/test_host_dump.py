"""What QEMU itself can tell of a guest that crashed: its screen, and its whole memory (`--host-dump`)."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.running import ROOT, run_scenarios

PROFILE = ROOT / "vm-images" / "reference" / "guest.toml"
MIB = 1 << 20
ELF_X64_LITTLE, ET_CORE, EM_X86_64, PT_LOAD, PT_NOTE = b"\x7fELF\x02\x01", 4, 62, 1, 4

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a scenario that crashed a reference guest with a screen; its dump is as large as the guest."""
    folder = tmp_path_factory.mktemp("host-dump")
    profile = folder / "guest.toml"
    profile.write_text(PROFILE.read_text().replace("[machine]\n", '[machine]\nvideo = "vga"\n'))
    out = folder / "out"
    words = ["--guest", profile, "--machines", "1", "--cold", "--host-dump", "-k", "receive"]
    done = run_scenarios(out, *words, "scenarios/crash", seconds=800)
    (result,) = done.results
    assert result["outcome"] == "PASS", f"{result['message']}\n{done.text}"
    yield Path(result["folder"])
    for dump in out.rglob("host-memory.elf"):
        dump.unlink()


def test_the_record_of_the_crash_has_all_its_parts(crashed: Path) -> None:
    record = json.loads((crashed / "crash.json").read_text())

    assert record["name"] == "DRIVER_IRQL_NOT_LESS_OR_EQUAL"
    assert record["code"] == 0xD1
    assert [int(value, 16) for value in record["parameters"]][:3] == [0x10, 2, 1]
    assert len(record["parameters"]) == 4
    assert (record["module"], record["offset"] > 0) == ("wfpcrash.sys", True)
    assert record["function"].startswith("use_bad_pointer at crash.c:")
    assert record["stack"][0].startswith("wfpcrash.sys+0x")
    assert record["stack"][1].startswith("wfpcrash.sys+0x")
    assert isinstance(record["recognised_seconds"], float)
    assert [dump["kind"] for dump in record["dumps"]] == ["header"]
    assert any("marker" in event for event in record["events"])
    assert any("198.51.100.77" in frame for frame in record["frames"])
    assert set(record["files"]) == {"MEMORY.DMP", "screen.png", "host-memory.elf"}
    assert all((crashed / name).stat().st_size for name in record["files"])
    assert "bugcheck 0xd1 (0x10, 0x2, 0x1," in (crashed / record["serial"]).read_text(errors="replace")
    assert record["notes"] == []


def test_the_screen_is_a_picture_of_a_screens_size(crashed: Path) -> None:
    head = (crashed / "screen.png").read_bytes()[:33]

    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    length, kind, width, height = struct.unpack_from(">I4sII", head, 8)
    assert (length, kind) == (13, b"IHDR")
    assert width >= 640
    assert height >= 350


def test_the_dump_of_the_host_is_a_core_file_with_all_of_the_guests_memory(crashed: Path) -> None:
    path = crashed / "host-memory.elf"
    with path.open("rb") as file:
        head = file.read(64)
        kind, machine = struct.unpack_from("<HH", head, 16)
        at, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        file.seek(at)
        parts = [struct.unpack("<IIQQQQQQ", file.read(size)[:56]) for _ in range(count)]

    assert head[:6] == ELF_X64_LITTLE
    assert (kind, machine) == (ET_CORE, EM_X86_64)
    assert PT_NOTE in [part[0] for part in parts]
    memory = [part for part in parts if part[0] == PT_LOAD]
    assert sum(part[5] for part in memory) >= 768 * MIB
    assert all(part[2] + part[5] <= path.stat().st_size for part in memory)
