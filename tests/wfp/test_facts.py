"""The facts answer as Windows does, under the names that scenarios use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from harness import wfp
from harness.errors import UsageError
from harness.wfp.data import load

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "drivers" / "include" / "generate.py"
MODEL_LAYERS = ROOT / "vm-images" / "reference" / "model" / "data" / "layers.json"
WINERROR = Path("/usr/share/mingw-w64/include/winerror.h")


@pytest.mark.parametrize(
    ("name", "number"),
    [("INBOUND_IPPACKET_V4", 0), ("ALE_AUTH_CONNECT_V4", 48), ("FWPS_LAYER_ALE_CONNECT_REDIRECT_V6", 67)],
)
def test_layer_ids_are_those_of_windows(name: str, number: int) -> None:
    assert wfp.layer_id(name) == number
    assert wfp.layer_name(number) == name.removeprefix("FWPS_LAYER_")


def test_a_layer_is_found_by_its_key() -> None:
    key = wfp.layer_guid("ALE_FLOW_ESTABLISHED_V4")
    assert key == UUID("af80470a-5596-4c13-9992-539e6fe57967")
    assert wfp.layer_of_guid(key) == "ALE_FLOW_ESTABLISHED_V4"


@pytest.mark.rule("W089")
def test_the_model_has_the_fields_of_windows_at_their_index() -> None:
    """Every layer of the reference guest's engine: id, key, and its fields in order with their types."""
    model = {layer["name"]: layer for layer in json.loads(MODEL_LAYERS.read_text())["layers"]}
    assert len(model) > 80
    for name, layer in model.items():
        facts = load("fields")["layers"][f"FWPS_LAYER_{name}"]
        assert (layer["id"], UUID(layer["guid"])) == (facts["id"], wfp.layer_guid(name)), name
        slots = sorted(facts["fields"], key=lambda slot: slot["i"])
        assert [slot["i"] for slot in slots] == list(range(len(slots))), name
        assert layer["fields"] == [[slot["condition"], slot["data_type"]] for slot in slots], name


@pytest.mark.rule("W067")
@pytest.mark.skipif(not WINERROR.exists(), reason="no mingw-w64 here")
def test_user_mode_codes_have_the_low_bits_of_kernel_codes() -> None:
    """FWP_E_x is 0x8032nnnn where STATUS_FWP_x is 0xC022nnnn, in a header that is not ours."""
    codes = dict(re.findall(r"#define FWP_E_(\w+)\s+_HRESULT_TYPEDEF_\((0x[0-9A-Fa-f]+)\)", WINERROR.read_text()))
    known = {name for name in codes if f"STATUS_FWP_{name}" in load("ntstatus")["status"]}
    assert len(known) > 40
    for name in known:
        status = wfp.status_value(f"STATUS_FWP_{name}") & 0xFFFFFFFF
        assert (status >> 16, int(codes[name], 16) >> 16) == (0xC022, 0x8032), name
        assert status & 0xFFFF == int(codes[name], 16) & 0xFFFF, name


def test_an_unknown_layer_names_its_neighbours() -> None:
    with pytest.raises(UsageError, match="ALE_AUTH_CONNECTS"):
        wfp.layer_id("ALE_AUTH_CONNECTS")


def test_an_unknown_id_is_shown_not_raised() -> None:
    assert wfp.layer_name(4711) == "LAYER_4711"


def test_fields_stand_at_their_index() -> None:
    fields = wfp.field_names("ALE_AUTH_CONNECT_V4")
    assert fields[:4] == ("ALE_APP_ID", "ALE_USER_ID", "IP_LOCAL_ADDRESS", "IP_LOCAL_ADDRESS_TYPE")
    assert wfp.field_index("ALE_AUTH_CONNECT_V4", "IP_REMOTE_PORT") == fields.index("IP_REMOTE_PORT")


@pytest.mark.parametrize("status", [0xC0220009, 0xC0220009 - (1 << 32)])
def test_a_status_has_one_name_signed_or_not(status: int) -> None:
    assert wfp.status_name(status) == "STATUS_FWP_ALREADY_EXISTS"
    assert not wfp.status_ok(status)


def test_object_name_exists_passes_nt_success() -> None:
    assert wfp.status_name(0x40000000) == "STATUS_OBJECT_NAME_EXISTS"
    assert wfp.status_ok(0x40000000)


def test_actions_agree_with_the_kit() -> None:
    for name in ("BLOCK", "PERMIT", "CALLOUT_TERMINATING", "CALLOUT_INSPECTION", "CALLOUT_UNKNOWN", "CONTINUE"):
        assert wfp.action_value(name) == wfp.constant(f"FWP_ACTION_{name}")
        assert wfp.action_name(wfp.action_value(name)) == name


def test_the_kernel_headers_are_what_the_facts_say() -> None:
    subprocess.run([sys.executable, GENERATOR, "--check"], check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("x86_64-w64-mingw32-gcc"), reason="no mingw-w64 here")
@pytest.mark.parametrize("first", ["ntddk.h", "ddk/ntifs.h"])
def test_the_kernel_headers_hold_their_assertions(tmp_path: Path, first: str) -> None:
    source = tmp_path / "abi.c"
    source.write_text(
        f"#include <{first}>\n#define INITGUID\n#include <ndis.h>\n#include <fwpsk.h>\n#include <fwpmk.h>\n"
    )
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", str(GENERATOR.parent / "mingw")]
    subprocess.run(["x86_64-w64-mingw32-gcc", *flags, "-c", source, "-o", tmp_path / "abi.o"], check=True)
