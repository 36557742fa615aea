"""What the bench does around the driver, with a guest that only notes it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.plugin.bench as module
from harness.driver import VerifierProfile
from harness.errors import UsageError
from harness.plugin.bench import GuestBench, open_guest_bench
from harness.plugin.options import RunOptions


def options(**given: Any) -> RunOptions:
    usual = {"guest": "reference", "driver": None, "nic": None, "fresh": "test", "reuse_boot": True, "out": Path("out")}
    return RunOptions(**usual | given)


def test_the_reference_guest_has_no_driver_verifier() -> None:
    with (
        pytest.raises(UsageError, match="'reference' has no Driver Verifier"),
        open_guest_bench(options(verifier="standard")),
    ):
        pass


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was done, in order."""
    done: list[object] = []

    class Control:
        def __init__(self, probe: object) -> None: ...

        def version(self) -> int:
            return 1

        def settle(self) -> None: ...

    service = SimpleNamespace(start=lambda: done.append("start"), quick=False)
    monkeypatch.setattr(module, "set_verifier", lambda _guest, *what, reboot: done.append(("set", *what)))
    monkeypatch.setattr(module, "confirm_active", lambda _guest, *what: done.append(("confirm", *what)))
    monkeypatch.setattr(module, "deploy", lambda *_args, **_more: done.append("deploy") or service)
    monkeypatch.setattr(module, "DriverControl", Control)
    return done


def prepare(**given: Any) -> None:
    bench: Any = object.__new__(GuestBench)
    bench.options = options(**given)
    bench.package = SimpleNamespace(path=Path("x.sys"))
    bench.guest = SimpleNamespace(probe=SimpleNamespace, upload=lambda *_what: None)
    bench.stations, bench.far = SimpleNamespace(ping=lambda deadline: None), None
    bench._probe_path, bench.facts = Path("p.exe"), {}
    bench.serial_log = Path("serial.log")
    bench._prepare(deploy_driver=True)


def test_the_driver_is_verified_from_its_first_load_on(order: list[object]) -> None:
    prepare(verifier="low-resources")

    profile = VerifierProfile.LOW_RESOURCES
    assert order == [("set", profile, "x.sys"), "deploy", "start", ("confirm", profile, "x.sys")]


def test_without_the_option_driver_verifier_is_left_as_it_is(order: list[object]) -> None:
    prepare()

    assert order == ["deploy", "start"]
