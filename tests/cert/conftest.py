"""A driver.toml beside our own driver, and runs that came to what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.cert import Answers, load_answers
from harness.driver.build import build_all

WHOLE = """
[driver]
company = "wfp-hil"
product = "reference callout"
file = "{driver}"

[features]
firewall = true
mac_layers = false
vswitch_layers = false
packet_injection = true
stream_injection = false
connection_proxying = true
"""


@pytest.fixture(scope="session")
def ours() -> Path:
    return build_all()["wfpcallout.sys"]


@pytest.fixture
def answers_file(tmp_path: Path, ours: Path) -> Callable[..., Path]:
    """Write driver.toml; `more` comes behind, `change` replaces text."""

    def write(more: str = "", **change: str) -> Path:
        text = WHOLE.format(driver=change.pop("driver", ours)) + more
        for key, value in change.items():
            text = "\n".join(f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines())
        path = tmp_path / "driver.toml"
        path.write_text(text + "\n")
        return path

    return write


@pytest.fixture
def answers(answers_file: Callable[..., Path]) -> Answers:
    return load_answers(answers_file())


@pytest.fixture
def a_run(tmp_path: Path, ours: Path) -> Callable[..., Path]:
    """The folder of a run: one result each."""

    def write(*results: dict[str, Any], name: str = "run", guest_kind: str = "reference", driver: Path = ours) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        digest = sha256(driver.read_bytes()).hexdigest()
        records = [{"record": "session", "driver_sha256": digest, "guest_kind": guest_kind}]
        for number, result in enumerate(results):
            defaults = {
                "scenario": "s.py::t",
                "outcome": "PASS",
                "guest": guest_kind,
                "started": f"2026-01-0{number + 1}",
            }
            records.append({"record": "result", **defaults, **result})
        (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return folder

    return write
