"""The fixture ladder: host, machine, guest, driver; then link, stations, witness, trace, probe and the fence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.driver import DriverControl, DriverService
    from harness.expect import Fence
    from harness.guest import Guest, ProbeClient
    from harness.guest.second_channel import SecondChannel
    from harness.hypervisor import Machine
    from harness.link import Link
    from harness.plugin.bench_needs import Bench
    from harness.plugin.expected_crash import ExpectedCrash
    from harness.plugin.far import Far
    from harness.plugin.impairing import Impair
    from harness.plugin.options import RunOptions
    from harness.plugin.recording import Scene
    from harness.plugin.replaying import Replaying
    from harness.trace import Trace
    from harness.traffic import Stations
    from harness.witness import Witness


@pytest.fixture(scope="session")
def wfp_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The running guest with the driver in it, once a session; ends the session when it cannot be had."""
    run = request.config.pluginmanager.getplugin("wfp-hil-run")
    with run.bench() as bench:
        yield bench


@pytest.fixture
def scene(request: pytest.FixtureRequest, wfp_bench: Bench) -> Iterator[Scene]:
    """All of the below for one scenario, on a guest as fresh as --fresh asks for, and the folder of its results."""
    run = request.config.pluginmanager.getplugin("wfp-hil-run")
    with run.scene(request.node, wfp_bench) as scene:
        yield scene


@pytest.fixture(scope="session")
def host(wfp_bench: Bench) -> RunOptions:
    """What this run was asked for: guest, driver, NIC, folder."""
    return wfp_bench.options


@pytest.fixture
def seed(scene: Scene) -> int:
    """What a scenario draws its random choices from (--seed); its result names it."""
    number = scene.bench.options.seed
    scene.seeds.append(str(number))
    return number


@pytest.fixture
def machine(scene: Scene) -> Machine:
    """The libvirt domain: snapshot, revert, pause, serial log."""
    return scene.bench.machine


@pytest.fixture
def guest(scene: Scene) -> Guest:
    """The operating system in the machine: run('ver'), upload, download, read."""
    return scene.bench.guest


@pytest.fixture
def driver(scene: Scene) -> DriverControl:
    """The reference callout driver, deployed and started: redirect, block, reinject, flow_context, inject, lab, ..."""
    return _control(scene)


@pytest.fixture
def service(scene: Scene) -> DriverService:
    """The driver's service, for scenarios that load and unload it; they may leave it stopped."""
    return scene.bench.service


@pytest.fixture
def probe(scene: Scene) -> ProbeClient:
    """The guest's own sockets: tcp_listen, tcp_connect, udp_open."""
    return scene.bench.probe


@pytest.fixture
def second_channel(scene: Scene) -> SecondChannel:
    """The way into the guest that no driver can cut: hello, stop_service, stacks, list, fetch."""
    channel = scene.bench.second_channel
    if channel is None:
        pytest.skip(f"nobody answers on the second control channel of the guest '{scene.bench.facts['guest']}'")
    return channel


@pytest.fixture
def management_in_path(scene: Scene, second_channel: SecondChannel) -> None:
    """WinRM and SFTP pass the guest's filter engine, as they always do on Windows: the driver can cut them."""
    from harness.guest.management import put_in_path

    if not scene.bench.is_windows:
        put_in_path(second_channel, scene.bench.probe)


@pytest.fixture
def link(scene: Scene) -> Link:
    """The path to the test NIC: send(frame), subscribe."""
    return scene.bench.link


@pytest.fixture
def impair(scene: Scene) -> Iterator[Impair]:
    """Make the wire worse until the scenario ends: impair(seed=1, lose=0.05), impair.carrier_down()."""
    from harness.plugin.impairing import Impair

    with Impair.of_near(scene).until_end() as impair:
        yield impair


@pytest.fixture
def stations(scene: Scene) -> Stations:
    """The hosts on the link: stations.add('198.51.100.5').tcp_listen(80)."""
    return scene.bench.stations


@pytest.fixture
def witness(scene: Scene) -> Witness:
    """What crosses the link: every frame since the scenario began."""
    return scene.witness


@pytest.fixture
def trace(scene: Scene) -> Trace:
    """What the driver says it did: its events since the scenario began."""
    _control(scene)  # a driver that says nothing would make every 'none' true
    return scene.trace


@pytest.fixture
def fence(scene: Scene) -> Fence:
    """Call it between acting and expecting: all earlier work is done when it returns.

    Of a driver without the control interface only what it does in line is: its own threads cannot be asked.
    """
    return scene.fence


@pytest.fixture
def replay(scene: Scene, pytestconfig: pytest.Config) -> Replaying:
    """Plays a capture with the guest in the part of one of its hosts: replay(capture=...), or packets one by one."""
    from harness.plugin.replaying import Replaying, settings_of

    return Replaying(scene, settings_of(pytestconfig))


@pytest.fixture
def crash(scene: Scene) -> ExpectedCrash:
    """For scenarios that want the guest to crash: `with crash.expected("DRIVER_IRQL_NOT_LESS_OR_EQUAL"): ...`."""
    from harness.plugin.expected_crash import ExpectedCrash

    return ExpectedCrash(scene)


@pytest.fixture
def far(scene: Scene) -> Iterator[Far]:
    """The second link, behind which the guest forwards; the fence covers both.

    far.stations, far.witness and far.impair are what `stations`, `witness` and `impair` are for the first.
    """
    from harness.plugin.far import Far
    from harness.plugin.impairing import Impair
    from harness.witness import Witness

    bench = scene.bench
    if bench.far is None:
        pytest.skip(f"the guest '{bench.facts['guest']}' has one test NIC, and forwarding needs two")
    with (
        Witness(bench.far.link, scene.folder.far_frames, far=True) as witness,
        Impair.of_far(scene, bench.far).until_end() as impair,
    ):
        scene.far_witness = witness
        # There, and what came from there, and what was injected on the way.
        scene.fence.widen(bench.far, bench.stations)
        yield Far(stations=bench.far.stations, witness=witness, impair=impair)


def _control(scene: Scene) -> DriverControl:
    control = scene.bench.control
    if control is None:
        pytest.skip(f"{scene.bench.facts['driver']} has no control interface, which the scenario needs")
    return control
