"""The probe asks a fwpuclnt.dll whose objects are hostile; what it prints becomes XML that the schema allows."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from harness.guest.engine_state import EngineState
from harness.guest.probe import ProbeClient
from harness.guest.state_xml import render_state
from harness.waiting import Deadline
from tests.guest.test_state_xml import allowed

HOSTILE = '<&"\\]]>\x01\n\\ud800x\\udc00\U0001f600\ufffe\xe4'
SOURCE = Path(__file__).with_name("fwpuclnt.c")
CC = "x86_64-w64-mingw32-gcc"

pytestmark = [pytest.mark.wine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def asked(probe_binary: Path, wine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbeClient]:
    folder = tmp_path_factory.mktemp("state")
    program = Path(shutil.copy(probe_binary, folder))
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-int-to-pointer-cast"]
    subprocess.run([CC, "-shared", "-O1", *warnings, SOURCE, "-o", folder / "fwpuclnt.dll"], check=True, timeout=100)
    process = subprocess.Popen(
        [wine.program, program],
        env=wine.environment | {"WINEDLLOVERRIDES": "fwpuclnt=n"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    assert process.stdout
    client = ProbeClient(_Pipe(process.stdin))

    def read(lines: Any) -> None:
        for line in lines:
            client.feed("stdout", line.decode())
        client.lose("it ended")

    reader = threading.Thread(target=read, args=[process.stdout], daemon=True)
    reader.start()
    try:
        client.wait_until_ready(Deadline(90))
        yield client
    finally:
        process.stdin.close()
        process.wait(60)
        reader.join(60)
        process.stdout.close()


class _Pipe:
    def __init__(self, file: Any) -> None:
        self._file = file

    def send(self, data: bytes | str, *, end: bool = False) -> None:
        del end
        self._file.write(data if isinstance(data, bytes) else data.encode())
        self._file.flush()


@pytest.fixture(scope="module")
def state(asked: ProbeClient) -> EngineState:
    return asked.wfp_state()


def test_names_arrive_whatever_is_in_them(state: EngineState) -> None:
    for named in (state.sessions[0], state.providers[0], state.sublayers[0], state.callouts[0], state.filters[0]):
        assert named.name == HOSTILE
        assert named.description is None
    assert state.providers[0].service == HOSTILE


def test_more_objects_than_fit_into_one_answer_are_all_told(state: EngineState) -> None:
    assert len(state.providers) == 300


def test_what_was_handed_out_is_given_back(asked: ProbeClient) -> None:
    asked.wfp_state()
    assert asked.wfp_state().sessions[0].wait_ms == 0


def test_a_kind_that_is_refused_is_said_and_no_more(state: EngineState) -> None:
    assert state.provider_contexts == ()
    assert [(error.what, error.code) for error in state.errors] == [("provider_contexts", 5)]


def test_every_type_of_value_is_read(state: EngineState) -> None:
    root = etree.fromstring(render_state(state, guest="made up"))
    (shown,) = root.findall("layers/item/filters/item")
    values = [
        " ".join(text.strip() for text in item.itertext() if text.strip())
        for item in shown.findall("filterCondition/item/conditionValue")
    ]
    cut = ["FWP_BYTE_BLOB_TYPE"]
    assert [value for value in values if value.split()[0] not in cut] == [
        "FWP_UINT32 192.0.2.5",
        "FWP_UINT64 18364758544493064720",
        "FWP_INT64 -5",
        "FWP_DOUBLE 9c7500883ce4377e",
        "FWP_BYTE_ARRAY16_TYPE 2001:db8::",
        "FWP_BYTE_ARRAY6_TYPE 02:00:00:00:00:01",
        "FWP_SID S-1-5-18",
        'FWP_UNICODE_STRING_TYPE <&"\\]]>\\u0001\n\\ud800x\\udc00\U0001f600\\ufffe\xe4',
        "FWP_V4_ADDR_MASK 203.0.113.0 255.255.255.0",
        "FWP_V6_ADDR_MASK 2001:db8:: 32",
        "FWP_RANGE_TYPE FWP_UINT16 80 FWP_UINT16 90",
        "FWP_UINT64",
        "FWP_SECURITY_DESCRIPTOR_TYPE",
        "0x4711",
    ]
    assert len(shown.findtext("filterCondition/item/conditionValue/byteBlob/data") or "") == 2 * 4096
    assert shown.findtext("effectiveWeight/uint64") == "18364758544493064720"
    assert shown.findtext("rawContext") == "18446744073709551615"
    assert shown.findtext("action/calloutKey") == "{11111111-0001-0002-0304-05060708090a}"
    flags = [item.text for item in shown.findall("flags/item")]
    assert flags == ["FWPM_FILTER_FLAG_PERSISTENT", "FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT"]


def test_the_document_is_what_the_schema_allows(state: EngineState) -> None:
    allowed(render_state(state, guest="made up"))
