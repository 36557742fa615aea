"""What the bench does around the driver, with a guest that only notes it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.plugin.bench as module
from harness.config import GuestKind
from harness.driver import VerifierProfile
from harness.errors import DeadlineExpired, GuestHung, MachineLost, UsageError
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


def test_the_reference_guest_has_no_windows_firewall() -> None:
    with (
        pytest.raises(UsageError, match="'reference' has no Windows Firewall"),
        open_guest_bench(options(firewall="off")),
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
    monkeypatch.setattr(module, "set_firewall", lambda _guest, state: done.append(("firewall", state)))
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


def test_without_the_options_verifier_and_firewall_are_left_as_they_are(order: list[object]) -> None:
    prepare()

    assert order == ["deploy", "start"]


def test_the_firewall_is_switched_before_the_driver_is_loaded(order: list[object]) -> None:
    prepare(firewall="off")

    assert order == [("firewall", "off"), "deploy", "start"]


def test_a_machine_that_ends_while_it_is_asked_is_lost_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    bench: Any = object.__new__(GuestBench)
    bench.machine, bench.link, bench.far = SimpleNamespace(), None, None
    bench._find_crash, bench._links = lambda: None, list
    bench._watchdog, bench._hang = SimpleNamespace(hung=None), None
    looks = iter([None, MachineLost("QEMU was killed.")])
    monkeypatch.setattr(module, "find_loss", lambda *_: next(looks))
    monkeypatch.setattr(module, "diagnose", lambda *_args, **_more: GuestHung("Nobody answers."))

    assert isinstance(bench.diagnose(DeadlineExpired("Waited 10 s.")), MachineLost)


@pytest.mark.parametrize("kind", list(GuestKind))
def test_a_reference_guest_whose_wine_has_ended_is_lost(kind: GuestKind) -> None:
    """By what the serial port said since the guest was put back; Windows has no such server, whatever it says."""
    said = "wineserver64: server/sock.c:1122: complete_async_poll: Assertion `a == b' failed.\n"
    bench: Any = object.__new__(GuestBench)
    bench._find_crash, bench._profile, bench._serial_mark = lambda: None, SimpleNamespace(kind=kind), 7
    bench.machine = SimpleNamespace(
        check=lambda: None, serial=SimpleNamespace(text=lambda mark: said if mark == 7 else "")
    )

    with pytest.raises(MachineLost, match="Wine has ended") if kind is GuestKind.REFERENCE else nullcontext():
        bench.check()
