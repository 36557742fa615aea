"""Replaying captures in a run: the options, the fixture `replay`, and a single attempt for those that make many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.capture import Capture, Packet
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.driver.contract import Breach
    from harness.plugin.bench_needs import Bench
    from harness.plugin.recording import Scene
    from harness.report import Outcome, ScenarioFolder
    from harness.reproduce import Replayed, Settings

_SCRIPT_PATH = r"C:\wfp-hil\replay.script"
_REFRESH_EVERY = 500  # actions; the driver's ring of events has room for more than they make


def add_options(group: pytest.OptionGroup) -> None:
    """Declare what a replay can be told; `wfp-hil reproduce` hands it on."""
    group.addoption("--capture-file", type=Path, metavar="FILE", help="the pcap or pcapng that is replayed")
    group.addoption("--guest-address", action="append", default=[], metavar="IP", help="the guest's address in it")
    group.addoption("--timing", choices=("fast", "capture"), default="fast", help="when its packets are sent")
    group.addoption("--patience", type=float, default=5.0, metavar="SECONDS", help="how long the guest is waited for")
    group.addoption("--packets", metavar="FIRST-LAST", help="only these packets of the file")
    group.addoption("--host", action="append", default=[], metavar="IP", help="only packets to or from this host")


class Replaying:
    """The fixture: `replay(capture)`, or `replay(packet, packet, ..., guest="10.0.0.5")`."""

    def __init__(self, scene: Scene, settings: Settings) -> None:
        self._scene, self._settings = scene, settings

    def __call__(self, *packets: Packet, capture: Capture | None = None, guest: str | None = None) -> Replayed:
        """Play a capture, or packets that are written down with the pauses before them, and pass a fence.

        Raises as `harness.reproduce.replay` does; departures are noted and go into the results.
        """
        from dataclasses import replace

        if (capture is None) == (not packets):
            raise UsageError("replay() takes packets or a capture, one of them.")
        settings = self._settings if guest is None else replace(self._settings, guest_addresses=(guest,))
        return replay_in(self._scene, capture or _numbered(packets), settings)


def replay_in(scene: Scene, capture: Capture, settings: Settings) -> Replayed:
    """Play a capture in a scene, and have everything done that it caused."""
    from harness.reproduce import Departures, LinkAddresses, ProbeGuest, replay
    from harness.steps import note, step
    from harness.traffic.address import pack_address

    bench, stations = scene.bench, scene.bench.stations
    addresses = LinkAddresses(pack_address(stations.guest_ip), pack_address(stations.guest_ip6), stations.networks)
    guest = ProbeGuest(bench.probe, bench.guest.upload, _SCRIPT_PATH)
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if bench.control is not None and done % _REFRESH_EVERY == 0:
            scene.trace.refresh()
        if total and done * 10 // total > told:
            told = done * 10 // total
            note(f"{done} of {total} steps")

    departures = Departures()
    with step(f"replay {len(capture)} packets"):
        try:
            replayed = replay(
                capture, link=bench.link, stations=stations, guest=guest, addresses=addresses, settings=settings,
                progress=progress, check=bench.check, departures=departures,
            )  # fmt: skip
        finally:  # of one that a crash ended, say, it matters all the more
            scene.departures += departures.all()
        figures = replayed.figures
        note(
            f"{figures.sent} packets sent, {figures.seen} of the guest awaited and seen, {figures.given_up} of "
            f"{figures.conversations} conversations given up, {len(replayed.departures)} departures, "
            f"{figures.seconds:.1f} s"
        )
        for departure in replayed.departures:
            note(f"departure: {departure}")
    scene.fence()
    return replayed


@dataclass(frozen=True, slots=True)
class Attempted:
    """What one attempt came to: its outcome with the error behind it, the rules that were broken, the replay."""

    outcome: Outcome
    error: BaseException | None
    breaches: tuple[Breach, ...]
    replayed: Replayed | None


def attempt(bench: Bench, folder: ScenarioFolder, capture: Capture, settings: Settings) -> Attempted:
    """Revert the guest, replay the capture once and judge it as a scenario is judged; for loops in one process.

    Raises UsageError and CaptureError; everything else that goes wrong is an outcome.
    """
    from harness.plugin.recording import open_scene
    from harness.report import Outcome, outcome_of

    bench.fresh()
    replayed: Replayed | None = None
    with open_scene(bench, folder) as scene:
        try:
            replayed = replay_in(scene, capture, settings)
            scene.check(may_stop_driver=False)
            scene.check_contract(())
        except UsageError:
            raise
        except Exception as error:  # what it says is judged below, as that of a scenario is
            cause = bench.diagnose(error)
            return Attempted(outcome_of(cause), cause, tuple(scene.contract.breaches()), replayed)
        return Attempted(Outcome.PASS, None, tuple(scene.contract.breaches()), replayed)


def settings_of(config: pytest.Config) -> Settings:
    """How captures are replayed, as the command line has it."""
    from harness.reproduce import Settings, Timing

    patience = float(config.getoption("--patience"))
    if not 0 < patience <= 600:
        raise UsageError(f"--patience is {patience:g} seconds, wanted more than 0 and at most 600.")
    return Settings(
        guest_addresses=tuple(config.getoption("--guest-address")),
        timing=Timing(config.getoption("--timing")),
        patience=patience,
    )


def chooser(packets: str | None, hosts: tuple[str, ...]) -> Callable[[Packet], bool] | None:
    """Which packets of a file are taken: a range of numbers as '1-5000', and those to or from some hosts.

    Raises UsageError for what is neither.
    """
    from harness.traffic.address import pack_address

    if packets is None and not hosts:
        return None
    first, last = _range(packets) if packets is not None else (1, None)
    wanted = {pack_address(host) for host in hosts}

    def choose(packet: Packet) -> bool:
        if packet.number < first or (last is not None and packet.number > last):
            return False
        ip = packet.ip if wanted else None
        return not wanted or (ip is not None and bool({ip.source, ip.destination} & wanted))

    return choose


def _range(text: str) -> tuple[int, int | None]:
    first, dash, last = text.partition("-")
    numbers = [int(word) for word in (first, last) if word.isdecimal()]
    if dash and first.isdecimal() and (not last or last.isdecimal()) and (len(numbers) < 2 or numbers[0] <= numbers[1]):
        return numbers[0], numbers[1] if last else None
    raise UsageError(f"'{text}' is no range of packets.", hint="Write --packets 1-5000, or 5000- for the rest.")


def _numbered(packets: tuple[Packet, ...]) -> Capture:
    """Packets that are written down: their times are pauses behind the one before, their numbers their places."""
    from dataclasses import replace

    time, numbered = 0, []
    for number, packet in enumerate(packets, 1):
        time += packet.time
        numbered.append(replace(packet, number=number, time=time))
    return Capture(tuple(numbered))
